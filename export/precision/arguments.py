"""Arguments about precision that the exporting verbs share. It imports little, so that ``--help`` needs no package."""

from __future__ import annotations

import argparse

from mutualformer.runtime.contract import PRECISIONS

CALIBRATION = "int8: frames for the scales, like those the model will see (default: real ones if any, and rendered)"


def add_precision(arguments: argparse.ArgumentParser, about: str, several: bool = False) -> None:
    """``--precision`` and the options other tools have for it: ``--half``, ``--fp16``, ``--int8``.

    ``several``: ``args.precision`` is a list, empty by default; else a name or None.
    """
    group = arguments.add_mutually_exclusive_group()
    default: list[str] | None = [] if several else None
    nargs = "+" if several else None
    group.add_argument("--precision", choices=PRECISIONS, nargs=nargs, default=default, help=about)
    for words, precision in ((("--half", "--fp16"), "fp16"), (("--int8",), "int8")):
        value = [precision] if several else precision
        group.add_argument(
            *words,
            dest="precision",
            action="store_const",
            const=value,
            default=default,
            help=f"--precision {precision}",
        )


def add_calibration(arguments: argparse.ArgumentParser) -> None:
    """``--calibration FRAMES``, or ``--data FRAMES``."""
    arguments.add_argument("--calibration", "--data", dest="calibration", metavar="FRAMES", help=CALIBRATION)
