"""Verb ``export``: any model as an ONNX file, an engine, a bundle for a device or a repository for a server.

    mutualformer export sod-lite --half                                  sod-lite.fp16.onnx in the current folder
    mutualformer export out/mine --int8 --data recording.mcap            out/mine/model.int8.onnx
    mutualformer export out/mine --format engine                         a TensorRT engine in which CDA is our plugin
    mutualformer export out/mine --format bundle --device orin-nano      all that a Jetson needs, in one archive
    mutualformer export out/mine --format triton                         for the Triton Inference Server

Your own checkpoint needs PyTorch for it, a shipped model does not. ``to_onnx``, ``to_trt`` and ``bundle`` do the same
with more options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mutualformer.export.device.deliver import FORMATS, Order, deliver
from mutualformer.export.engine.targets import TARGETS
from mutualformer.export.precision.arguments import CALIBRATION, add_precision
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    examples = __doc__.partition("\n\n")[2]
    how = argparse.RawDescriptionHelpFormatter
    arguments = verb_parser("export", __doc__, epilog=examples, formatter_class=how)
    arguments.add_argument("model", metavar="MODEL", help=zoo.HELP)
    arguments.add_argument("--format", choices=tuple(FORMATS), default="onnx", help="default: onnx")
    add_precision(arguments, "default: onnx fp32; engine and triton that of the file; bundle all possible")
    arguments.add_argument("--data", metavar="FRAMES", help=CALIBRATION)
    arguments.add_argument("-o", "--output", type=Path, help="default: beside the model, here for a shipped one")
    arguments.add_argument("--device", choices=tuple(TARGETS), help="device of a bundle or an engine")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    precisions: tuple[str, ...] = (args.precision,) if args.precision else ()
    if args.format == "bundle" and precisions and precisions != ("fp32",):
        precisions = ("fp32", *precisions)  # the device compares its engine with it
    print(deliver(Order(args.model, args.format, args.output, precisions, args.data, args.device)))
    return 0


main = verb(parser, command)
