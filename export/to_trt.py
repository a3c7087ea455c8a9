"""Verb ``to_trt``: any model → serialised TensorRT engine in which every CDA is our plugin, proven.

    python export/to_trt.py MODEL -o model.engine [--flavor auto|tensorrt|rtx] [--batch MIN OPT MAX]

Runs where only the runtime's dependencies are installed. Flavour ``rtx`` builds on a machine without a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

from mutualformer.export.engine.builder import BuildOptions
from mutualformer.export.engine.compile import compile_model
from mutualformer.export.engine.targets import TARGETS, capabilities
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.arguments import add_calibration, add_precision
from mutualformer.plugins import library
from mutualformer.runtime import flavor as flavors
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import check_writable


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = verb_parser("to_trt", __doc__)
    arguments.add_argument("model", metavar="MODEL", help=zoo.HELP)
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .engine file to write")
    add_precision(arguments, "default: the file's; rtx: fp16 for an fp32 file")
    add_calibration(arguments)
    arguments.add_argument("--flavor", choices=("auto", *library.FLAVORS), default="auto")
    arguments.add_argument(
        "--batch",
        type=int,
        nargs=3,
        metavar=("MIN", "OPT", "MAX"),
        default=(1, 1, 1),
        help="default 1 1 1, for streams: fewest kernels, least memory",
    )
    rare = arguments.add_argument_group("rarely needed")
    rare.add_argument("--tf32", action="store_true", help="fp32 products in TF32: faster, 10 bits of mantissa")
    rare.add_argument(
        "--unfolded", action="store_true", help="build from the graph as exported, if the engine fails parity"
    )
    rare.add_argument("--workspace", type=int, default=0, metavar="MIB", help="memory limit of one layer's scratch")
    arguments.add_argument("--target", action="append", default=[], choices=tuple(TARGETS), help="may be repeated")
    return arguments


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if args.output.suffix != ".engine":
        raise ExportError(f"{args.output}: the output ends in {args.output.suffix!r}, expected .engine")
    check_writable(args.output)
    flavor = flavors.resolve(args.flavor)
    options = BuildOptions(
        flavor=flavor,
        profile=tuple(args.batch),
        tf32=args.tf32,
        folded=not args.unfolded,
        workspace_mib=args.workspace,
        capabilities=capabilities(args.target, flavor),
    )
    card = compile_model(zoo.resolve(args.model), args.output, options, args.precision, args.calibration, args.target)
    print(
        f"{args.output}: {card.contract.model}, {card.requested_precision}{' (tf32)' if card.tf32 else ''}, "
        f"{card.flavor} {card.builder_version}, {args.output.stat().st_size / 1e6:.1f} MB, "
        f"{card.plugin_layers} of {card.cda_nodes} CDA as plugin, {card.kernels} kernels a frame, "
        f"heavy nodes {', '.join(f'{count} {kind}' for kind, count in card.heavy_nodes.items())}, "
        f"folded {', '.join(f'{count} {name}' for name, count in card.folds.items()) or 'nothing'}, "
        f"targets {', '.join(card.targets)}"
    )
    return 0


main = verb(parser, command)


if __name__ == "__main__":
    sys.exit(main())
