"""Verb ``acceptance``: does the plugin work on this GPU? What its first owner runs.

    mutualformer acceptance --out DIR                  every check: one line each, DIR/acceptance.json; exit 1 on a FAIL
    mutualformer acceptance --pack acceptance.tar.gz   all of it in one archive for a machine without network

NumPy and cuda-bindings are enough. With PyTorch and Triton the jitted kernels are checked too, with TensorRT engines
are built, proven, compared, timed and streamed. Without a GPU there is nothing to check, and it says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import run_verb


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    from mutualformer.export.checks.names import CHECKS

    table = "\n".join(f"  {name:<12}  {what}" for name, what in CHECKS.items())
    arguments = argparse.ArgumentParser(
        prog="mutualformer acceptance",
        description=__doc__.splitlines()[0],
        epilog=f"checks:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="where acceptance.json and what the checks save go")
    what.add_argument(
        "--pack", type=Path, metavar="FILE", help="write a .tar.gz of at most 40 MB that carries the checks"
    )
    arguments.add_argument("--for", dest="processor", choices=("x86_64", "aarch64"), help="--pack for that processor")
    arguments.add_argument("--only", nargs="+", choices=tuple(CHECKS), default=[], metavar="CHECK", help="some checks")
    arguments.add_argument("--model", metavar="MODEL", help=f"for the TensorRT checks: {zoo.HELP}")
    arguments.add_argument(
        "--minutes", type=float, default=10.0, metavar="N", help="what all checks together plan with (default 10)"
    )
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from mutualformer.export.checks import report
    from mutualformer.export.device import pack

    model = None if args.model is None else zoo.resolve(args.model)
    if model is not None and model.suffix == ".onnx":
        from mutualformer.export.graph.onnx_file import open_onnx

        open_onnx(model)  # a file whose CDA nodes are gone would pass every check, and prove nothing
    if args.pack is not None:
        size = pack.pack(args.pack, model, args.processor or "")
        print(f"{args.pack}: {size / 1e6:.1f} MB; on the machine with the GPU: tar xf, ./run.sh OUT")
        return 0
    return report.run(args.out, args.only, model, args.minutes)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
