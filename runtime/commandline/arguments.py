"""Arguments that several verbs have, said once."""

from __future__ import annotations

import argparse
from pathlib import Path

from mutualformer.runtime.session import DEVICES


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``, one of :data:`mutualformer.runtime.session.DEVICES`."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: %(default)s)")


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """``--gallery DIR``: a Path, or None where nobody is to be recognised."""
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="known identities for a reid model: "
        "rgb/ and nir/ with equal file names, IDENTITY_NUMBER.png (car_red_0.png is car_red)",
    )
