"""The paper's ablation: every fusion trained over the same seeds, all else equal, and one table of what came out.

    mutualformer fit MODEL --data DATA --ablation --seeds 0 1 2 --out OUT

Each run lies in OUT/FUSION-seedS. Finished runs are not repeated and broken-off ones go on, so the same command
continues after an interruption and, run again at the end, only writes the table: ablation.json, .csv, .md, .png.
Arms are compared at equal steps: a time budget would give slower arms fewer, so it is off.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mutualformer.runtime.files import sha256, write_bytes, write_json
from mutualformer.runtime.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.reporting import tables
from mutualformer.train import card, checkpoint, registry
from mutualformer.train.evaluate import evaluate_model
from mutualformer.train.evaluation.pictures import spread_chart
from mutualformer.train.evaluation.tables import COLUMNS, number
from mutualformer.train.fit import FitConfig, FitError, fit
from mutualformer.train.fitting import config as plan
from mutualformer.train.fusion import FUSIONS


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training of the study."""

    fusion: str
    seed: int
    config: FitConfig

    @property
    def weights(self) -> Path:
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
    if config.validate is None:
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
    if kept.get("data") != run.config.validate:
        data = str(run.config.validate)
        kept = {"data": data, **evaluate_model(checkpoint.load(run.weights), data)}
        card.change(run.weights, metrics=kept)
    return kept


def latencies(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Milliseconds of one frame in PyTorch on the CPU for each fusion; contenders take turns."""
    calls = {}
    for run in runs:
        if run.fusion in calls:
            continue
        model = checkpoint.load(run.weights)
        height, width = model.spec.input_size
        rgb = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
        other = torch.rand(1, height, width) * 4 + 0.5 if model.spec.task == "sod" else rgb.flip(1)
        calls[run.fusion] = lambda model=model, rgb=rgb, other=other: model(rgb, other)
    with torch.inference_mode():
        return {name: summary(times) for name, times in interleaved_ms(calls, rounds=20).items()}


def collect(runs: Sequence[Run], task: str, latency: bool) -> dict[str, Any]:
    """Everything the table is made of, in JSON types; writes the spread over seeds into every run's card."""
    names = list(COLUMNS[task])
    found = {run: metrics_of(run) for run in runs}
    arms: dict[str, Any] = {}
    for fusion in dict.fromkeys(run.fusion for run in runs):
        ours = [run for run in runs if run.fusion == fusion]
        spread = card.over_seeds([found[run] for run in ours], [run.seed for run in ours], names)
        for run in ours:
            card.change(run.weights, metrics={**found[run], "over_seeds": spread})
        arms[fusion] = {
            "params": checkpoint.read_card(ours[0].weights)["params"],
            "metrics": {name: spread[name] for name in names},
            "runs": {str(run.seed): {name: found[run][name] for name in names} for run in ours},
        }
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


def _both(spread: Mapping[str, Any], signed: bool = False) -> str:
    mean = f"{spread['mean']:+.4f}" if signed else number(spread["mean"], 4)
    return mean if spread["std"] is None else f"{mean} ± {spread['std']:.4f}"


def markdown(result: Mapping[str, Any], task: str) -> str:
    """The table for readers: mean ± standard deviation over seeds, and the run-by-run difference from the first arm."""
    columns, arms = COLUMNS[task], result["arms"]
    timed = result.get("latency", {}).get("arms")
    rows, differences = [], []
    first = next(iter(arms))
    for fusion, arm in arms.items():
        row = [fusion, *(_both(arm["metrics"][name]) for name in columns), f"{arm['params']:,}"]
        rows.append([*row, *([f"{timed[fusion]['p50_ms']:.1f}"] if timed else [])])
        if f"minus_{first}" in arm:
            differences.append([fusion, *(_both(arm[f"minus_{first}"][name], signed=True) for name in columns)])
    header = ["fusion", *columns.values(), "parameters", *(["ms (CPU, PyTorch)"] if timed else [])]
    recipe, seeds = result["plan"]["recipe"], ", ".join(map(str, result["seeds"]))
    lines = [
        f"# {result['plan']['model']}: {'fusion' if len(arms) > 1 else 'spread over seeds'}",
        "",
        f"Trained on `{result['plan']['data']}` with recipe {recipe['name']}, {recipe['steps']} steps of "
        f"{recipe['batch']}, no time budget; seeds {seeds}; evaluated on `{result['held_out']}`. "
        "Mean ± standard deviation over seeds.",
        "",
        tables.markdown(header, rows, numbers=True),
    ]
    if differences:
        lines += ["", f"Difference from {first}, seed by seed (same first weights, same batches):", ""]
        lines += [tables.markdown(["fusion", *columns.values()], differences, numbers=True)]
        lines += ["", "A difference smaller than its own spread says nothing about which arm is better."]
    return "\n".join(lines) + "\n"


def comma_separated(result: Mapping[str, Any], task: str) -> str:
    """One line a run: fusion, seed, metrics, parameters."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fusion", "seed", *COLUMNS[task], "params"])
    for fusion, arm in result["arms"].items():
        for seed, found in arm["runs"].items():
            writer.writerow([fusion, seed, *(f"{found[name]:.6f}" for name in COLUMNS[task]), arm["params"]])
    return text.getvalue()


def run(config: FitConfig, numbers: Sequence[int] | None, ablation: bool, latency: bool = False) -> int:
    """Train, evaluate, write the table into ``config.out``; returns the exit code. Raises FitError."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FitError(
            "--ablation and --seeds run in one process; train each run by itself under torchrun into OUT/FUSION-seedS "
            "(--set fusion=…, --seed S, --minutes 0), then this command finds them finished and writes the table"
        )
    if ablation and "fusion" in config.overrides:
        raise FitError("--ablation trains every fusion: leave --set fusion=… away")
    if config.resume:
        raise FitError("--ablation and --seeds go on by themselves where they were: leave --resume away")
    spec = registry.spec(config.model)
    own = str(config.overrides.get("fusion", spec.architecture["fusion"]))
    if config.recipe.minutes:
        print(
            f"the time budget of {config.recipe.minutes:g} min is off: runs are compared at equal steps "
            f"({config.recipe.steps})",
            file=sys.stderr,
        )
    runs = planned(config, seeds_of(numbers), FUSIONS if ablation else (own,))
    train_all(runs)
    result = collect(runs, spec.task, latency)
    stem = config.out / ("ablation" if ablation else "seeds")
    text = markdown(result, spec.task)
    write_json(stem.with_suffix(".json"), result)
    write_bytes(stem.with_suffix(".csv"), comma_separated(result, spec.task).encode())
    write_bytes(stem.with_suffix(".md"), text.encode())
    values = {
        fusion: {name: [found[name] for found in arm["runs"].values()] for name in COLUMNS[spec.task]}
        for fusion, arm in result["arms"].items()
    }
    heading = f"{config.model}: runs, and mean ± standard deviation over seeds"
    spread_chart(values, COLUMNS[spec.task], stem.with_suffix(".png"), heading)
    print(text)
    return 0
