"""Several trainings that differ in seed and fusion alone, all else equal, and what came out of them.

Each run lies in OUT/FUSION-seedS. Finished runs are not repeated and broken-off ones go on, so the same command
continues after an interruption and, run again at the end, only writes the table. Arms are compared at equal steps: a
time budget would give slower arms fewer, so it is off.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mutualformer.runtime.benchmarks.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.files import sha256, write_bytes, write_json
from mutualformer.runtime.tasks import TASKS
from mutualformer.train import checkpoint, registry
from mutualformer.train.catalogue import card
from mutualformer.train.evaluation.run import evaluate
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.evaluation.spread import comma_separated, markdown
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.run import fit
from mutualformer.train.fusion import FUSIONS


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training of the study."""

    fusion: str
    seed: int
    config: FitConfig

    @property
    def weights(self) -> Path:
        """The finished model's checkpoint; missing until the run is done."""
        return self.config.out / "model.safetensors"

    def finished(self) -> bool:
        """Whether its checkpoint is there, whole, and of all its steps."""
        try:
            kept = checkpoint.read_card(self.weights)
        except ValueError:
            return False
        done = kept.get("recipe", {}).get("steps_done") == self.config.recipe.steps
        return bool(done and kept["weights_sha256"] == sha256(self.weights))


def seeds_of(numbers: Sequence[int] | None) -> tuple[int, ...]:
    """Command line → seeds: one number N means 0 … N-1, none means three. Raises FitError."""
    if not numbers:
        return (0, 1, 2)
    seeds = tuple(range(numbers[0])) if len(numbers) == 1 else tuple(numbers)
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise FitError(f"--seeds {' '.join(map(str, numbers))}: expected different seeds ≥ 0, or how many")
    return seeds


def planned(config: FitConfig, seeds: Sequence[int], fusions: Sequence[str]) -> list[Run]:
    """All runs, seed by seed so that every arm has one result first. Raises FitError for what cannot be compared."""
    if config.validate is None and not config.hold_out:
        raise FitError("a comparison needs held-out data: give --validate DATA")
    equal = dataclasses.replace(config.recipe, minutes=0.0)
    runs = []
    for seed in seeds:
        for fusion in fusions:
            one = dataclasses.replace(
                config,
                out=config.out / f"{fusion}-seed{seed}",
                recipe=equal,
                seed=seed,
                overrides={**config.overrides, "fusion": fusion},
                resume=(config.out / f"{fusion}-seed{seed}" / "checkpoints" / "last.ckpt").is_file(),
            )
            changed = plan.difference(one.out, one)
            if changed:
                raise FitError(f"{one.out}: holds a run begun with {changed}; take another --out")
            runs.append(Run(fusion, seed, one))
    return runs


def train_all(runs: Sequence[Run]) -> None:
    """Train what is not finished, saying where the study is and how long the rest will take."""
    left = [run for run in runs if not run.finished()]
    if len(left) < len(runs):
        print(f"{len(runs) - len(left)} of {len(runs)} runs are finished already", file=sys.stderr)
    began = time.monotonic()
    for done, run in enumerate(left):
        rest = f", about {(time.monotonic() - began) / done * (len(left) - done) / 60:.0f} min left" if done else ""
        print(f"[{done + 1}/{len(left)}] {run.fusion}, seed {run.seed}{rest}", file=sys.stderr, flush=True)
        fit(run.config)


def metrics_of(run: Run) -> dict[str, Any]:
    """The run's metrics on the held-out data: its card's, or evaluated now and put there."""
    kept: dict[str, Any] = checkpoint.read_card(run.weights)["metrics"]
    data = run.config.validate
    if data is not None and kept.get("data") != data:
        kept = {"data": data, **evaluate(ModuleSession(checkpoint.load(run.weights)), data)}
        card.change(run.weights, metrics=kept)
    return kept


def latencies(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Milliseconds of one frame in PyTorch on the CPU for each fusion; contenders take turns."""
    calls = {}
    for run in runs:
        if run.fusion in calls:
            continue
        model = checkpoint.load(run.weights)
        spec = registry.spec_of(model)
        height, width = spec.input_size
        rgb = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
        metres = TASKS[spec.task].inputs[1].dtype == "float32"
        other = torch.rand(1, height, width) * 4 + 0.5 if metres else rgb.flip(1)
        calls[run.fusion] = lambda model=model, rgb=rgb, other=other: model(rgb, other)
    with torch.inference_mode():
        return {name: summary(times) for name, times in interleaved_ms(calls, rounds=20).items()}


def without_other(run: Run, task: str) -> dict[str, Any]:
    """The run's metrics on the held-out data with the second modality (depth, NIR) taken away; kept in its card."""
    data, how = str(run.config.validate), f"{TASKS[task].modalities[1]}=zero"
    kept: dict[str, Any] = checkpoint.read_card(run.weights)["metrics"]
    if kept.get("data") == data and how in kept:
        metrics: dict[str, Any] = kept[how]
        return metrics
    session = ModuleSession(checkpoint.load(run.weights))
    metrics = {
        name: value for name, value in evaluate(session, data, corruption=how).items() if isinstance(value, float)
    }
    card.change(run.weights, metrics={**kept, how: metrics})
    return metrics


def collect(runs: Sequence[Run], task: str, latency: bool, probe: bool = False) -> dict[str, Any]:
    """Everything the table is made of, in JSON types; writes the spread over seeds into every run's card."""
    names = list(TASKS[task].names)
    metrics = {run: metrics_of(run) for run in runs}
    bare = {run: without_other(run, task) for run in runs} if probe else {}
    metrics = {run: metrics_of(run) for run in runs} if probe else metrics
    arms: dict[str, Any] = {}
    for fusion in dict.fromkeys(run.fusion for run in runs):
        ours = [run for run in runs if run.fusion == fusion]
        spread = card.over_seeds([metrics[run] for run in ours], [run.seed for run in ours], names)
        for run in ours:
            card.change(run.weights, metrics={**metrics[run], "over_seeds": spread})
        arms[fusion] = {
            "params": checkpoint.read_card(ours[0].weights)["params"],
            "metrics": {name: spread[name] for name in names},
            "runs": {str(run.seed): {name: metrics[run][name] for name in names} for run in ours},
        }
        if probe:
            gains = [{name: metrics[run][name] - bare[run][name] for name in names} for run in ours]
            gained = card.over_seeds(gains, [run.seed for run in ours], names)
            arms[fusion][f"gain_of_{TASKS[task].modalities[1]}"] = {name: gained[name] for name in names}
    first = next(iter(arms))
    for fusion, arm in arms.items():  # the same seed means the same first weights and batches: compare run by run
        pairs = [(arm["runs"][seed], arms[first]["runs"][seed]) for seed in arm["runs"]]
        differences = [{name: ours[name] - theirs[name] for name in names} for ours, theirs in pairs]
        if fusion != first:
            paired = card.over_seeds(differences, [int(seed) for seed in arm["runs"]], names)
            arm[f"minus_{first}"] = {name: paired[name] for name in names}
    result = {
        "plan": {key: value for key, value in plan.plan_of(runs[0].config).items() if key not in ("seed", "overrides")},
        "overrides": {key: value for key, value in runs[0].config.overrides.items() if key != "fusion"},
        "held_out": runs[0].config.validate,
        "seeds": list(dict.fromkeys(run.seed for run in runs)),
        "arms": arms,
        "conditions": conditions(torch=torch.__version__, threads=str(torch.get_num_threads())),
        "git_revision": checkpoint.git_revision(),
    }
    if latency:
        result["latency"] = {"what": "PyTorch, CPU, one frame", "arms": latencies(runs)}
    return result


@dataclasses.dataclass(frozen=True)
class Study:
    """Where the outcome of a study lies, and its table as text."""

    result: dict[str, Any]
    table: str
    stem: Path


def study(
    config: FitConfig,
    seeds: Sequence[int],
    fusions: Sequence[str] | None = None,
    latency: bool = False,
    probe: bool = False,
) -> Study:
    """Train, evaluate, and write ``ablation.{json,csv,md,png}`` into ``config.out`` (``seeds.*`` for a single fusion).

    ``fusions``: arms to compare, None = all. ``latency``: time each on this machine too. ``probe``: score every run
    without its second modality too, to tell what that contributes in each arm. Raises FitError.
    """
    from mutualformer.train.evaluation.pictures import spread_chart

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FitError(
            "an ablation runs in one process; train each run by itself under torchrun into OUT/FUSION-seedS "
            "(--set fusion=…, --seed S, --minutes 0), then this command finds them finished and writes the table"
        )
    if "fusion" in config.overrides:
        raise FitError("an ablation chooses the fusion: leave --set fusion=… away and give --fusions")
    if config.resume:
        raise FitError("an ablation goes on by itself where it was: leave --resume away")
    unknown = sorted(set(fusions or ()) - set(FUSIONS))
    if unknown:
        raise FitError(f"fusion {', '.join(unknown)} is unknown, expected some of {', '.join(FUSIONS)}")
    task = TASKS[registry.spec(config.model).task]
    if config.recipe.minutes:
        print(
            f"the time budget of {config.recipe.minutes:g} min is off: runs are compared at equal steps "
            f"({config.recipe.steps})",
            file=sys.stderr,
        )
    if probe and config.validate is None:
        raise FitError("--probe scores the runs a second time: give --validate DATA")
    arms = tuple(fusions or FUSIONS)
    runs = planned(config, seeds, arms)
    train_all(runs)
    result = collect(runs, task.name, latency, probe)
    stem = config.out / ("ablation" if len(arms) > 1 else "seeds")
    table = markdown(result, task)
    write_json(stem.with_suffix(".json"), result)
    write_bytes(stem.with_suffix(".csv"), comma_separated(result, task).encode(errors="backslashreplace"))
    write_bytes(stem.with_suffix(".md"), table.encode(errors="backslashreplace"))
    values = {
        fusion: {name: [metrics[name] for metrics in arm["runs"].values()] for name in task.names}
        for fusion, arm in result["arms"].items()
    }
    heading = f"{config.model}: runs, and mean ± standard deviation over seeds"
    spread_chart(values, task.headings, stem.with_suffix(".png"), heading)
    return Study(result, table, stem)
