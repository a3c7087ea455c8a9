"""Arguments that several verbs have, said once."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from mutualformer.runtime.session import DEVICES
from mutualformer.runtime.session.base import KEEP_FP16


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``, one of :data:`mutualformer.runtime.session.DEVICES`, and ``--keep-fp16``."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: %(default)s)")
    parser.add_argument(
        "--keep-fp16",
        action=_Keep,
        nargs=0,
        help="leave an FP16 model's weights as they are on a CPU, which computes in FP32: less memory, more time",
    )


class _Keep(argparse.Action):
    """Says it to every session of this process and of those that it starts."""

    def __call__(self, *_: Any, **__: Any) -> None:
        os.environ[KEEP_FP16] = "1"


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """``--gallery DIR``: a Path, or None where nobody is to be recognised."""
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="known identities for a reid model: "
        "rgb/ and nir/ with equal file names, IDENTITY_NUMBER.png (car_red_0.png is car_red)",
    )
