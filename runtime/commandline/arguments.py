"""Arguments that several verbs have, said once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.session import DEVICES
from mutualformer.runtime.session.onnx_file import TRUST


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``, one of :data:`mutualformer.runtime.session.DEVICES`, and ``--trust``."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: %(default)s)")
    parser.add_argument(
        "--trust", action=_Trust, nargs=0, help="run an ONNX file whatever it is made of: who made it is known to you"
    )


class _Trust(argparse.Action):
    """Sets the variable that sessions look at, so that processes started from this one see it too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        os.environ[TRUST] = "1"


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """``--gallery DIR``: a Path, or None where nobody is to be recognised."""
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="known identities for a reid model: "
        "rgb/ and nir/ with equal file names, IDENTITY_NUMBER.png (car_red_0.png is car_red)",
    )
