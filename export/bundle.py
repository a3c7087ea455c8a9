"""Verb ``bundle``: everything one kind of device needs, in one archive that is the same bytes every time.

    mutualformer bundle model.onnx --target orin-nano -o bundle.tar.gz [--precision fp32 fp16 int8] [--calibration DATA]
    mutualformer bundle model.onnx --triton -o models.tar.gz [--engine model.engine]

The device needs a C++ compiler, CMake, TensorRT's headers and Python 3.10; neither Triton nor PyTorch. ``--triton``
makes a model repository for the Triton Inference Server instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from mutualformer.export.engine.targets import TARGETS
from mutualformer.export.errors import ExportError
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import sha256


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="mutualformer bundle", description=__doc__.splitlines()[0])
    arguments.add_argument("source", type=Path, help="model.onnx, FP32 if several precisions are wanted")
    kind = arguments.add_mutually_exclusive_group(required=True)
    kind.add_argument("--target", choices=tuple(TARGETS), help="the device")
    kind.add_argument("--triton", action="store_true", help="a model repository for the Triton Inference Server")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .tar.gz file to write")
    arguments.add_argument("--precision", nargs="+", choices=PRECISIONS, default=[], help="default: all possible")
    arguments.add_argument("--calibration", metavar="DATA", help="for int8: a folder, a recording or synthetic:N")
    arguments.add_argument("--engine", type=Path, help="with --triton: an engine of this model for the server's GPU")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if args.triton:
        from mutualformer.export.device.repository import write_repository

        if args.precision or args.calibration:
            raise ExportError("--precision and --calibration are for a device; a repository serves the file as it is")
        members = write_repository(args.source, args.output, args.engine)
        what = "Triton model repository"
    else:
        from mutualformer.export.device.contents import held_precisions, write_bundle

        if args.engine:
            raise ExportError("--engine is for --triton; a device builds its own engine")
        target = TARGETS[args.target]
        members = write_bundle(args.source, target, args.output, args.precision, args.calibration)
        precisions = ", ".join(held_precisions(list(members)))
        what = f"{precisions} for {target.device}, sm_{target.capability.replace('.', '')} kernels"
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {what}, {len(members)} files, {size:.1f} MB, sha256 {sha256(args.output)[:16]}…")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
