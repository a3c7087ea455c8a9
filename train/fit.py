"""``mutualformer fit MODEL --data DATA --out DIR``: train a model and write its checkpoint and card.

Ctrl-C and SIGTERM save the state and end with 130 and 143; --resume continues from there to the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root stands in for this folder on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.train.fitting.options import add_run, configured


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = verb_parser("fit", __doc__)
    add_run(parser)
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for model.safetensors, its card (.json, .md), logs"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="continue from OUT/checkpoints/last.ckpt")
    return parser


def summary(path: Path, metrics: Mapping[str, Any]) -> list[str]:
    """For people: a table of the scores, the pictures to look at, what to do next."""
    sets = metrics.get("sets") or ({str(metrics.get("data", "")): metrics} if metrics else {})
    columns = {"s_measure": "S-measure", "max_f": "max F", "mae": "MAE"}
    scored = {name: scores for name, scores in sets.items() if "s_measure" in scores}
    rows = [[name, *(f"{scores[key]:.4f}" for key in columns)] for name, scores in scored.items()]
    lines = [aligned([["", *columns.values()], *rows])] if rows else []
    shown = [str(path.parent / name) for name in ("curves.png", "validation.png") if (path.parent / name).is_file()]
    lines += [f"look at {' and '.join(shown)}"] if shown else []
    return [*lines, f"next: mutualformer predict PICTURE --model {path}"]


def command(args: argparse.Namespace) -> int:
    """Train; prints the checkpoint's path and metrics as JSON. Raises ValueError."""
    from mutualformer.train import checkpoint
    from mutualformer.train.fitting.interruption import Interrupted
    from mutualformer.train.fitting.training import fit

    try:
        path = fit(configured(args, args.out, args.seed, args.resume))
    except Interrupted as stop:
        print(f"fit: {stop}", file=sys.stderr)
        return stop.exit_code
    if int(os.environ.get("RANK", "0")) == 0:
        metrics = checkpoint.read_card(path)["metrics"]
        print("\n".join(summary(path, metrics)), file=sys.stderr)
        print(json.dumps({"checkpoint": str(path), "metrics": metrics}, indent=2))
    return 0


main = verb(parser, command)


if __name__ == "__main__":
    raise SystemExit(main())
