"""``python -m lab.sweep MODEL --calibration DATA --data DATA --out DIR``: what does INT8 cost, layer by layer?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.sweep import sweep
from lab.sweep.study import study
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import run_verb


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.sweep", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="one fp32 .onnx file or a checkpoint")
    parser.add_argument("--data", action="append", required=True, help="frames to judge on, others than the scales'")
    parser.add_argument("--calibration", metavar="DATA", help="frames for the scales")
    parser.add_argument("--frames", type=int, default=8, help="frames of DATA to judge on (default 8)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets sweep.{html,json,csv,png}")
    return parser


def command(args: argparse.Namespace) -> int:
    """Sweep, and print what ``to_onnx --keep`` takes."""
    rows = study(zoo.resolve(args.model), args.calibration, args.data, args.out, args.frames)["layers"]
    print(f"{len(rows)} layers quantised alone, the costliest of them (squared error, % of the answer's):")
    print("\n".join(f"  {100 * row['noise']:8.4f}  --keep {row['node']:<24} {sweep.label(row)}" for row in rows[:8]))
    print(args.out / "sweep.html")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
