"""Verb ``parity``: does the candidate still answer like the reference? JSON, HTML with pictures, exit 1 if not.

    mutualformer parity REFERENCE CANDIDATE --data DATA --out DIR

REFERENCE and CANDIDATE are any two of ``.safetensors`` (PyTorch), ``.onnx``, ``.engine``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mutualformer.export.compare.page import write_reports
from mutualformer.export.compare.parity import compare
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = verb_parser("parity", __doc__)
    arguments.add_argument("reference", help=zoo.HELP)
    arguments.add_argument("candidate", help="MODEL; its precision selects the budget")
    arguments.add_argument(
        "--data",
        action="append",
        default=[],
        help="DATA, may be repeated (default: real frames, if any, and rendered ones)",
    )
    arguments.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets parity.json and report.html")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Compare, write both reports, print the verdict; 1 when a budget is violated."""
    reference = zoo.resolve(args.reference)
    result = compare(reference, zoo.resolve(args.candidate), args.data)
    page = write_reports(result, args.out)
    verdict = "parity holds" if not result.problems else "PARITY VIOLATED: " + "; ".join(result.problems)
    default = "" if args.data else f": {result.data}"
    print(
        f"{verdict} ({result.precision}, {result.frames} frames{default}; max abs {result.tensor['max_abs']:.2e}, "
        f"mean abs {result.tensor['mean_abs']:.2e}); report: {page}"
    )
    return 1 if result.problems else 0


main = verb(parser, command)
