"""``mutualformer recipes [NAME]``: the training recipes, or one of them with every key, as a file to change.

mutualformer recipes finetune > mine.toml
mutualformer fit sod-lite --init sod-lite --recipe mine.toml --data /data/mine --out out/mine
"""

from __future__ import annotations

import argparse

from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.train.fitting.recipes import names, recipe
from mutualformer.train.fitting.recipes.reading import to_toml


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = verb_parser("recipes", __doc__)
    parser.add_argument("name", nargs="?", metavar="NAME|FILE.toml", help="print this one whole")
    return parser


def command(args: argparse.Namespace) -> int:
    """Print the list, or one recipe as TOML. Raises ValueError."""
    if args.name:
        print(to_toml(recipe(args.name)), end="")
        return 0
    for name in names():
        print(f"{name:<10} {recipe(name).note}")
    return 0


main = verb(parser, command)
