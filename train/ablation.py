"""``mutualformer ablation MODEL --data DATA --out DIR --seeds 0 1 2``: every fusion trained over the same seeds.

A loop over ``fit``: each run lies in OUT/FUSION-seedS, finished runs are not repeated, interrupted ones continue. Arms
are compared at equal steps, so a time budget is off. Writes OUT/ablation.json and .md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.card import over_seeds
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import TASKS, TITLES
from mutualformer.train import registry
from mutualformer.train.fitting.config import FitConfig, FitError, difference
from mutualformer.train.fitting.options import add_run, configured


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = verb_parser("ablation", __doc__)
    add_run(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for the runs and the table")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="one N: 0 … N-1 (default: 3); else these")
    parser.add_argument("--fusions", nargs="+", metavar="FUSION", help="arms to compare (default: all)")
    return parser


def seeds_of(numbers: Sequence[int] | None) -> tuple[int, ...]:
    """Command line → seeds: one number N means 0 … N-1, none means three. Raises FitError."""
    seeds = (0, 1, 2) if not numbers else tuple(range(numbers[0])) if len(numbers) == 1 else tuple(numbers)
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise FitError(f"--seeds {' '.join(map(str, numbers or ()))}: expected different seeds ≥ 0, or how many")
    return seeds


def trained(config: FitConfig, fusion: str, seed: int) -> dict[str, Any]:
    """The metrics of one run by set, trained now if it is not finished. Raises what ``fit`` raises."""
    from mutualformer.train import checkpoint
    from mutualformer.train.fitting.training import fit

    out = config.out / f"{fusion}-seed{seed}"
    overrides, recipe = {**config.overrides, "fusion": fusion}, dataclasses.replace(config.recipe, minutes=0.0)
    resume = (out / "checkpoints" / "last.ckpt").is_file()
    run = dataclasses.replace(config, out=out, seed=seed, overrides=overrides, recipe=recipe, resume=resume)
    if changed := difference(out, run):
        raise FitError(f"{out}: holds a run begun with {changed}; take another --out")
    weights = out / "model.safetensors"
    if not checkpoint.has_steps(weights, recipe.steps):
        fit(run)
    metrics: dict[str, Any] = checkpoint.read_card(weights)["metrics"]
    return dict(metrics.get("sets") or {metrics["data"]: metrics})


def command(args: argparse.Namespace) -> int:
    """Train what is not finished, write the table and print it. Raises FitError, and what ``fit`` raises."""
    from mutualformer.train.fitting.interruption import Interrupted
    from mutualformer.train.fusion import FUSIONS

    config, seeds, fusions = configured(args, args.out), seeds_of(args.seeds), tuple(args.fusions or FUSIONS)
    if "fusion" in config.overrides:
        raise FitError("an ablation chooses the fusion: give --fusions instead of --set fusion=…")
    if config.validate is None and not config.hold_out:
        raise FitError("a comparison needs held-out data: give --validate DATA")
    try:
        runs = {(fusion, seed): trained(config, fusion, seed) for seed in seeds for fusion in fusions}
    except Interrupted as stop:
        print(f"ablation: {stop}; the same command continues", file=sys.stderr)
        return stop.exit_code
    names = TASKS[registry.spec(config.model).task].names
    result = {
        data: {f: over_seeds([runs[f, s][data] for s in seeds], seeds, names) for f in fusions}
        for data in runs[fusions[0], seeds[0]]
    }
    rows = [
        [data, fusion, *(f"{one[name]['mean']:.4f} ± {one[name]['std'] or 0:.4f}" for name in names)]
        for data, arms in result.items()
        for fusion, one in arms.items()
    ]
    table = tables.markdown(["data", "fusion", *(TITLES[name] for name in names)], rows)
    write_json(args.out / "ablation.json", {"model": config.model, "trained_on": config.data, "sets": result})
    write_bytes(args.out / "ablation.md", f"{table}\n".encode(errors="backslashreplace"))
    print(table)
    return 0


main = verb(parser, command)
