"""Verb ``acceptance``: does the plugin work on this GPU? The first thing to run on a new one.

    mutualformer acceptance --out DIR                  every check: one line each, DIR/acceptance.json; exit 1 on a FAIL
    mutualformer acceptance --pack acceptance.tar.gz   the checks in one archive, for a machine without network

NumPy and cuda-bindings are enough. With PyTorch and Triton it also checks the jitted kernels; with TensorRT it builds,
proves, compares, times and streams engines. Without a GPU it reports a SKIP and checks nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    from mutualformer.export.checks.names import CHECKS

    table = "\n".join(f"  {name:<12}  {check.about}" for name, check in CHECKS.items())
    arguments = verb_parser(
        "acceptance",
        __doc__,
        epilog=f"checks:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="folder for acceptance.json and the engines")
    what.add_argument("--pack", type=Path, metavar="FILE", help="write a .tar.gz of at most 40 MB with the checks")
    arguments.add_argument("--for", dest="processor", choices=("x86_64", "aarch64"), help="--pack for this processor")
    arguments.add_argument("--only", nargs="+", choices=tuple(CHECKS), default=[], metavar="CHECK", help="some checks")
    arguments.add_argument("--model", metavar="MODEL", help=f"for the TensorRT checks: {zoo.HELP}")
    arguments.add_argument(
        "--minutes", type=float, default=10.0, metavar="N", help="time that all checks share (default 10)"
    )
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from mutualformer.export.checks import report
    from mutualformer.export.device import pack

    model = None if args.model is None else zoo.resolve(args.model)
    if model is not None and model.suffix == ".onnx":
        from mutualformer.export.graph.onnx_file import open_onnx

        open_onnx(model)  # refuses a file whose CDA nodes were inlined: it would pass every check and prove nothing
    if args.pack is not None:
        size = pack.pack(args.pack, model, args.processor or "")
        print(f"{args.pack}: {size / 1e6:.1f} MB; on the machine with the GPU: tar xf, ./run.sh OUT")
        return 0
    return report.run(args.out, args.only, model, args.minutes)


main = verb(parser, command)


if __name__ == "__main__":
    sys.exit(main())
