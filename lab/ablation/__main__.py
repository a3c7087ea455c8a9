"""``python -m lab.ablation MODEL --data DATA --out DIR --seeds 0 1 2``: every fusion, with proof that arms were equal.

Writes OUT/ablation.{json,csv,md,png}. Finished runs are not repeated and broken-off ones go on, so the same command
continues after an interruption. Trained on photo:ROOT, the runs are scored on photographs and composites that nobody
chose anything by, with their depth, without it and with that of another frame.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.commandline.running import run_verb
from mutualformer.train.fitting.options import add_run, configured


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(prog="python -m lab.ablation", description=(__doc__ or "").splitlines()[0])
    add_run(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for the runs and the table")
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="one number N: seeds 0 … N-1 (default: 3); else these"
    )
    parser.add_argument(
        "--fusions", nargs="+", metavar="FUSION", help="arms to compare (default: all; one: only its spread)"
    )
    parser.add_argument("--latency", action="store_true", help="time each fusion on this machine too")
    parser.add_argument(
        "--probe", action="store_true", help="score without the second modality too: what it gives (always for photo:)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, each on its share of the cores"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="photo: frames to score on of each set (default: 150)")
    return parser


def command(args: argparse.Namespace) -> int:
    """Train what is not finished, write the table and print it. Raises ValueError."""
    from lab.ablation.photographs import FRAMES
    from lab.ablation.study import study
    from mutualformer.train.ablation import seeds_of
    from mutualformer.train.fitting.interruption import Interrupted

    frames = FRAMES if args.frames is None else args.frames
    try:
        outcome = study(
            configured(args, args.out),
            seeds_of(args.seeds),
            args.fusions,
            args.latency,
            args.probe,
            args.jobs,
            frames,
        )
    except Interrupted as stop:
        print(f"ablation: {stop}; the same command continues it", file=sys.stderr)
        return stop.exit_code
    print(outcome.table)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    raise SystemExit(main())
