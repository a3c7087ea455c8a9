"""Verb ``parity``: is the candidate still the model that was trained? JSON, HTML with pictures, exit 1 if it is not.

    mutualformer parity REFERENCE CANDIDATE --data DATA --out DIR
    mutualformer parity REFERENCE --sweep --calibration DATA --data DATA --out DIR          cost of INT8 layer by layer

REFERENCE and CANDIDATE are any two of ``.safetensors`` (PyTorch), ``.onnx``, ``.engine``; the studies take one fp32
``.onnx`` or a checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from mutualformer.export.compare.page import write_reports
from mutualformer.export.compare.parity import compare
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.calibration import DEFAULT_METHOD, METHODS
from mutualformer.runtime import zoo
from mutualformer.runtime.cli import run_verb


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="mutualformer parity", description=__doc__.splitlines()[0])
    arguments.add_argument("reference", help=f"the model to be equal to: {zoo.HELP}")
    arguments.add_argument("candidate", nargs="?", help="the model to be judged; its precision picks the budget")
    arguments.add_argument(
        "--data",
        action="append",
        default=[],
        help="folder, sample:motorcycle or synthetic:N[?seed=S]; may be repeated (default: real frames, as far as "
        "MUTUALFORMER_DATA and MUTUALFORMER_SAMPLES have them, and rendered ones)",
    )
    arguments.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets parity.json and report.html")
    arguments.add_argument("--show", type=int, default=6, help="pictures in the report (default 6, the worst frames)")
    arguments.add_argument(
        "--emulate-half", action="store_true", help="judge an .onnx file in true float16 arithmetic as well"
    )
    arguments.add_argument("--sweep", action="store_true", help="quantise every layer alone: which cost how much")
    arguments.add_argument("--calibration", metavar="DATA", help="frames for the scales of --sweep")
    arguments.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="scales of --sweep")
    arguments.add_argument("--frames", type=int, default=8, help="frames of DATA that --sweep judges on (default 8)")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Compare, write both reports, print the verdict; 1 when a budget is violated."""
    reference = zoo.resolve(args.reference)
    if args.sweep:
        return _sweep(args, reference)
    if args.candidate is None:
        raise ExportError("parity compares two model files; CANDIDATE is missing (or --sweep)")
    result = compare(reference, zoo.resolve(args.candidate), args.data, args.show, args.emulate_half)
    page = write_reports(result, args.out)
    verdict = "parity holds" if not result.problems else "PARITY VIOLATED: " + "; ".join(result.problems)
    default = "" if args.data else f": {result.data}"
    print(
        f"{verdict} ({result.precision}, {result.frames} frames{default}; max abs {result.tensor['max_abs']:.2e}, "
        f"mean abs {result.tensor['mean_abs']:.2e}); report: {page}"
    )
    if result.emulated:
        twin = result.emulated.tensor
        print(f"in true half precision: max abs {twin['max_abs']:.2e}, mean abs {twin['mean_abs']:.2e}")
    return 1 if result.problems else 0


def _sweep(args: argparse.Namespace, reference: Path) -> int:
    """Always 0: the sweep judges layers, not the model."""
    from mutualformer.export.studies import sweep
    from mutualformer.export.studies.study import study

    if args.candidate is not None:
        raise ExportError(f"--sweep takes one model file; {args.candidate} is a second one")
    if not args.data:
        raise ExportError("--sweep needs --data DATA to judge on, other frames than those of --calibration")
    rows = study(reference, args.calibration, args.data, args.method, args.out, args.frames)["layers"]
    print(f"{len(rows)} layers quantised alone, the costliest of them (squared error, % of the answer's):")
    print("\n".join(f"  {100 * row['noise']:8.4f}  {row['node']:<24} {sweep.label(row)}" for row in rows[:8]))
    print(f"{args.out / 'sweep.html'}, sweep.json, sweep.csv, sweep.png")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
