"""``python -m lab.narrow sod-nano --teacher sod-lite --data photo:ROOT -o start.safetensors``

Then ``python -m lab.photographs fit sod-nano --init start.safetensors …`` goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import lab.photographs.kind  # noqa: F401 (registers photo:)
from lab.narrow.begin import begin_as
from lab.photographs.teacher import open_teacher
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.train import checkpoint, registry
from mutualformer.train.fitting.config import FitConfig
from mutualformer.train.fitting.preparation.ready import open_training_data
from mutualformer.train.fitting.recipes import recipe


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.narrow", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="the student, e.g. sod-nano")
    parser.add_argument("--teacher", required=True, metavar="FILE|NAME")
    parser.add_argument("--data", required=True, help="frames on which the weights are solved for, as of fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    return parser


def command(args: argparse.Namespace) -> int:
    """Write the student's first weights."""
    torch.manual_seed(args.seed)
    student = registry.build(args.model, pretrained=False)
    config = FitConfig(args.model, args.data, args.output.parent, recipe("taught"), seed=args.seed)
    data = open_training_data(config, registry.spec_of(student))
    begin_as(student, open_teacher(args.teacher), data.source)
    print(checkpoint.save(args.output, student, {"limits": "First weights of a training, not a trained model."}))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
