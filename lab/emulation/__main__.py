"""``python -m lab.emulation REFERENCE CANDIDATE.onnx --out DIR``: parity in true float16 arithmetic.

The candidate runs in an interpreter that rounds to float16 where the graph says so; ONNX Runtime on a CPU does not
everywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.emulation.session import EmulatedSession
from mutualformer.export.compare.page import write_reports
from mutualformer.export.compare.parity import compare_sessions
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import run_verb


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.emulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reference", help="the model to be equal to")
    parser.add_argument("candidate", type=Path, help="the .onnx file to be judged")
    parser.add_argument("--data", action="append", default=[], help="as of parity")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets parity.json and report.html")
    return parser


def command(args: argparse.Namespace) -> int:
    """Compare and write both reports; 1 when a budget is violated. Raises ValueError for no .onnx file."""
    if args.candidate.suffix != ".onnx":
        raise ValueError(f"{args.candidate}: only .onnx files are interpreted")
    with zoo.load(args.reference) as reference:
        result = compare_sessions(reference, EmulatedSession(args.candidate), args.data, show=0)
    page = write_reports(result, args.out)
    verdict = "parity holds" if not result.problems else "PARITY VIOLATED: " + "; ".join(result.problems)
    largest, mean = result.tensor["max_abs"], result.tensor["mean_abs"]
    print(f"{verdict} in true half precision (max abs {largest:.2e}, mean abs {mean:.2e}): {page}")
    return 1 if result.problems else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
