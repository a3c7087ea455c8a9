"""Verb ``to_onnx``: checkpoint → one ONNX file that any runtime runs, verified against PyTorch before it is written.

python export/to_onnx.py CHECKPOINT.safetensors -o model.onnx [--precision fp32|fp16|int8 --calibration DATA]
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from mutualformer.export.errors import ExportError
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import check_writable

METHODS = ("minmax", "percentile", "mse")


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="mutualformer to_onnx", description=__doc__.splitlines()[0])
    arguments.add_argument("checkpoint", type=Path, help="model.safetensors with its model.json beside it")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file to write")
    arguments.add_argument("--precision", choices=PRECISIONS, default="fp32")
    arguments.add_argument(
        "--calibration", metavar="DATA", help="int8: frames for the scales (default: real ones where there are any)"
    )
    arguments.add_argument("--method", choices=METHODS, default="mse", help="int8: how scales are chosen")
    arguments.add_argument("--keep", action="append", metavar="NODE", help="leave this node one precision higher")
    arguments.add_argument(
        "--keep-worst", type=int, default=0, metavar="K", help="int8: leave the K costliest layers in FP16"
    )
    arguments.add_argument("--scales", choices=("fp16", "fp32"), default="fp16", help="int8: precision of the scales")
    arguments.add_argument(
        "--weights", choices=("dq", "qdq"), default="dq", help="int8: qdq for a TensorRT that refuses INT8 weights"
    )
    arguments.add_argument("--depthwise", choices=("fp16", "int8"), default="fp16", help="int8: depthwise convolutions")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from mutualformer.export.precision.convert import Choices, export_checkpoint
    from mutualformer.export.precision.placement import Placement
    from mutualformer.train.checkpoint import load

    if args.output.suffix != ".onnx":
        raise ExportError(f"{args.output}: the output ends in {args.output.suffix!r}, expected .onnx")
    if args.keep_worst < 0:
        raise ExportError(f"--keep-worst is {args.keep_worst}, expected a number of layers")
    if args.calibration and args.precision != "int8":
        raise ExportError(f"--calibration {args.calibration} has no use with --precision {args.precision}, only int8")
    check_writable(args.output)
    model = export_checkpoint(
        load(args.checkpoint),
        args.output,
        args.precision,
        args.calibration,
        Choices(
            keep=tuple(args.keep or ()),
            method=args.method,
            keep_worst=args.keep_worst,
            placement=Placement(args.scales, args.weights, args.depthwise),
        ),
    )
    contract, size = model.contract, args.output.stat().st_size / 1e6
    print(
        f"{args.output}: {contract.model}, {contract.precision}, opset {contract.opset}, {size:.1f} MB, "
        f"{model.cda_nodes} CDA nodes, fp32 graph {model.worst:.1e} from PyTorch"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
