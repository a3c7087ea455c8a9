"""Verb ``bundle``: everything one kind of device needs, in one reproducible archive.

    mutualformer bundle MODEL --target orin-nano [-o bundle.tar.gz] [--precision fp32 fp16 int8] [--calibration FRAMES]
    mutualformer bundle MODEL --triton [-o models.tar.gz] [--engine model.engine]

The device needs a C++ compiler, CMake, TensorRT's headers and Python 3.10; neither Triton nor PyTorch. ``--triton``
makes a model repository for the Triton Inference Server instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mutualformer.export.device.deliver import Order, deliver
from mutualformer.export.engine.targets import TARGETS
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.arguments import add_calibration, add_precision
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = verb_parser("bundle", __doc__)
    arguments.add_argument("model", metavar="MODEL", help=zoo.HELP)
    kind = arguments.add_mutually_exclusive_group(required=True)
    kind.add_argument("--target", choices=tuple(TARGETS), help="the device")
    kind.add_argument("--triton", action="store_true", help="a model repository for the Triton Inference Server")
    arguments.add_argument("-o", "--output", type=Path, help="the .tar.gz file to write (default: beside the model)")
    add_precision(arguments, "default: all possible", several=True)
    add_calibration(arguments)
    arguments.add_argument("--engine", type=Path, help="with --triton: an engine of this model for the server's GPU")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if args.triton and (args.precision or args.calibration):
        raise ExportError("--precision and --calibration are for a device; a repository serves the file as it is")
    kind, precisions = "triton" if args.triton else "bundle", tuple(args.precision)
    print(deliver(Order(args.model, kind, args.output, precisions, args.calibration, args.target, args.engine)))
    return 0


main = verb(parser, command)
