"""Verb ``to_onnx``: any model → one ONNX file that any runtime runs, compared with its source.

python export/to_onnx.py MODEL -o model.onnx [--precision fp32|fp16|int8 --calibration FRAMES]

A checkpoint's file is compared with PyTorch before it is written; a shipped model and an .onnx file need no PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

from mutualformer.export.errors import ExportError
from mutualformer.export.precision.arguments import add_calibration, add_precision
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import check_writable


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = verb_parser("to_onnx", __doc__)
    arguments.add_argument("model", metavar="MODEL", help=zoo.HELP)
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file to write")
    add_precision(arguments, "default: fp32")
    add_calibration(arguments)
    rare = arguments.add_argument_group("rarely needed")
    rare.add_argument("--keep", action="append", metavar="NODE", help="keep this node one precision higher")
    rare.add_argument(
        "--keep-worst", type=int, default=0, metavar="K", help="int8: leave the K costliest layers in FP16"
    )
    rare.add_argument("--scales", choices=("fp16", "fp32"), default="fp16", help="int8: precision of the scales")
    rare.add_argument(
        "--weights", choices=("dq", "qdq"), default="dq", help="int8: qdq for a TensorRT that refuses INT8 weights"
    )
    rare.add_argument("--depthwise", choices=("fp16", "int8"), default="fp16", help="int8: depthwise convolutions")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from mutualformer.export.precision.convert import Choices, write_onnx

    if args.output.suffix != ".onnx":
        raise ExportError(f"{args.output}: the output ends in {args.output.suffix!r}, expected .onnx")
    if args.keep_worst < 0:
        raise ExportError(f"--keep-worst is {args.keep_worst}, expected at least 0")
    check_writable(args.output)
    model = write_onnx(
        zoo.resolve(args.model),
        args.output,
        args.precision or "fp32",
        args.calibration,
        Choices(args.scales, args.weights, args.depthwise, tuple(args.keep or ()), args.keep_worst),
    )
    contract, size = model.contract, args.output.stat().st_size / 1e6
    print(f"{args.output}: {contract.model}, {contract.precision}, {size:.1f} MB; {model.distance}")
    return 0


main = verb(parser, command)


if __name__ == "__main__":
    sys.exit(main())
