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
from typing import Any

import torch

from lab.ablation.jobs import side_by_side
from lab.ablation.outcome import Study, collected, written
from lab.ablation.photographs import FRAMES, HeldOut, is_scored
from lab.ablation.runs import Run, on_photographs, planned
from lab.ablation.spread import comma_separated, markdown
from lab.ablation.witness import Witness, check_equal
from lab.results import change_card
from mutualformer.runtime.benchmarks.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.card import over_seeds
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.tasks import TASKS
from mutualformer.train import checkpoint, registry
from mutualformer.train.evaluation.scoring import evaluate
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.training import fit
from mutualformer.train.fusion import FUSIONS


def train_all(runs: Sequence[Run]) -> None:
    """Train what is not finished, saying where the study is and how long the rest will take."""
    left = [run for run in runs if not run.finished()]
    if len(left) < len(runs):
        print(f"{len(runs) - len(left)} of {len(runs)} runs are finished already", file=sys.stderr)
    began = time.monotonic()
    for done, run in enumerate(left):
        rest = f", about {(time.monotonic() - began) / done * (len(left) - done) / 60:.0f} min left" if done else ""
        print(f"[{done + 1}/{len(left)}] {run.fusion}, seed {run.seed}{rest}", file=sys.stderr, flush=True)
        fit(run.config, [Witness(run.config.out)])


def metrics_of(run: Run) -> dict[str, Any]:
    """The run's metrics on the held-out data: its card's, or evaluated now and put there."""
    kept: dict[str, Any] = checkpoint.read_card(run.weights)["metrics"]
    data = run.config.validate
    if data is not None and kept.get("data") != data:
        kept = {"data": data, **evaluate(ModuleSession(checkpoint.load(run.weights)), data)}
        change_card(run.weights, metrics=kept)
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


def timed(runs: Sequence[Run]) -> dict[str, Any]:
    """:func:`latencies` and what they are, for the result."""
    return {"what": "PyTorch, CPU, one frame", "arms": latencies(runs)}


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
    change_card(run.weights, metrics={**kept, how: metrics})
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
        spread = over_seeds([metrics[run] for run in ours], [run.seed for run in ours], names)
        for run in ours:
            change_card(run.weights, metrics={**metrics[run], "over_seeds": spread})
        arms[fusion] = {
            "params": checkpoint.read_card(ours[0].weights)["params"],
            "metrics": {name: spread[name] for name in names},
            "runs": {str(run.seed): {name: metrics[run][name] for name in names} for run in ours},
        }
        if probe:
            gains = [{name: metrics[run][name] - bare[run][name] for name in names} for run in ours]
            gained = over_seeds(gains, [run.seed for run in ours], names)
            arms[fusion][f"gain_of_{TASKS[task].modalities[1]}"] = {name: gained[name] for name in names}
    first = next(iter(arms))
    for fusion, arm in arms.items():  # the same seed means the same first weights and batches: compare run by run
        pairs = [(arm["runs"][seed], arms[first]["runs"][seed]) for seed in arm["runs"]]
        differences = [{name: ours[name] - theirs[name] for name in names} for ours, theirs in pairs]
        if fusion != first:
            paired = over_seeds(differences, [int(seed) for seed in arm["runs"]], names)
            arm[f"minus_{first}"] = {name: paired[name] for name in names}
    result = {
        "plan": {key: value for key, value in plan.plan_of(runs[0].config).items() if key not in ("seed", "overrides")},
        "overrides": {key: value for key, value in runs[0].config.overrides.items() if key != "fusion"},
        "held_out": runs[0].config.validate,
        "seeds": list(dict.fromkeys(run.seed for run in runs)),
        "arms": arms,
        "conditions": conditions(torch=torch.__version__, threads=str(torch.get_num_threads())),
        "git_revision": checkpoint.git_revision(),
        "same_begin_and_batches": check_equal(runs),
    }
    if latency:
        result["latency"] = timed(runs)
    return result


def study(
    config: FitConfig,
    seeds: Sequence[int],
    fusions: Sequence[str] | None = None,
    latency: bool = False,
    probe: bool = False,
    jobs: int = 1,
    frames: int = FRAMES,
) -> Study:
    """Train, evaluate, and write ``ablation.{json,csv,md,png}`` into ``config.out`` (``seeds.*`` for a single fusion).

    ``fusions``: arms to compare, None = all. ``latency``: time each on this machine too. ``probe``: score every run
    without its second modality too, to tell what that contributes in each arm. ``jobs``: runs at a time, each in a
    process with its share of the cores. ``frames``: of each set to score on, for photo: data, where ``config.validate``
    is scored beside the sets of :class:`HeldOut`. Raises FitError, Interrupted.
    """
    from lab.ablation.chart import spread_chart

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FitError(
            "an ablation runs in one process; train each run by itself under torchrun into OUT/FUSION-seedS "
            "(--set fusion=…, --seed S, --minutes 0), then this command finds them finished and writes the table"
        )
    if "fusion" in config.overrides:
        raise FitError("an ablation chooses the fusion: give --fusions instead of --set fusion=…")
    if config.resume:
        raise FitError("an ablation continues by itself: omit --resume")
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
    photo = on_photographs(config)
    if probe and config.validate is None and not photo:
        raise FitError("--probe scores the runs a second time: give --validate DATA")
    if jobs < 1:
        raise FitError(f"--jobs is {jobs}, expected at least 1")
    held_out = HeldOut(config.data, frames, config.validate) if photo else None
    if photo:
        # Nothing is chosen: the last weights count, and what scores them is not seen before.
        often = max(1, min(config.save_every, config.recipe.steps // 10))  # a short run has more to lose
        config = dataclasses.replace(config, validate=None, validate_every=0, save_every=often)
    arms = tuple(fusions or FUSIONS)
    runs = planned(config, seeds, arms)
    if jobs > 1:
        left = [run for run in runs if not run.finished() or (held_out and not is_scored(run.weights, held_out))]
        side_by_side(left, held_out, jobs)
    else:
        train_all(runs)
    stem = config.out / ("ablation" if len(arms) > 1 else "seeds")
    if held_out is not None:
        result = collected(runs, held_out, jobs)
        if latency:
            result["latency"] = timed(runs)
        return written(result, stem)
    result = collect(runs, task.name, latency, probe)
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
