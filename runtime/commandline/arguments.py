"""Options that several verbs have, with one wording."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.session import DEVICES
from mutualformer.runtime.session.base import KEEP_FP16
from mutualformer.runtime.session.onnx_file import TRUST


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``, one of :data:`mutualformer.runtime.session.DEVICES`, ``--keep-fp16`` and ``--trust``."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: %(default)s)")
    parser.add_argument(
        "--keep-fp16",
        action=_Sets,
        const=KEEP_FP16,
        help="leave an FP16 model's weights as they are on a CPU, which computes in FP32: less memory, more time",
    )
    parser.add_argument(
        "--trust", action=_Sets, const=TRUST, help="run an ONNX file whatever operators it holds: you know who made it"
    )


def add_access(parser: argparse.ArgumentParser) -> None:
    """``--token-file``, ``--token`` and ``--tls`` of a server's clients."""
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="holds what other machines must show (made where it is missing); or set MUTUALFORMER_TOKEN; "
        "without either a token is made for this run and printed once",
    )
    parser.add_argument("--token", help="the token itself; every user of this machine can read it in the process list")
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERT", "KEY"), help="serve over TLS, both files in PEM")


class _Sets(argparse.Action):
    """Sets the environment variable ``const``, at which sessions look: child processes see it too."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: str, **how: object) -> None:
        super().__init__(option_strings, dest, nargs=0, const=const, default=argparse.SUPPRESS, help=str(how["help"]))

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        os.environ[str(self.const)] = "1"


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """``--gallery DIR``: a Path, or None where nobody is to be recognised."""
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="known identities for a reid model: "
        "rgb/ and nir/ with equal file names, IDENTITY_NUMBER.png (car_red_0.png is car_red)",
    )
