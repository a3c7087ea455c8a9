"""Options that several verbs share, with one wording."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.session import DEVICES
from mutualformer.runtime.session.base import KEEP_FP16
from mutualformer.runtime.session.onnx_file import TRUST


def rarely_needed(parser: argparse.ArgumentParser) -> Any:
    """A group for options that most users never need; the help lists it last."""
    return parser.add_argument_group("rarely needed")


def add_device(parser: argparse.ArgumentParser, rare: Any = None) -> None:
    """``--device``, and among the ``rare`` options ``--keep-fp16`` and ``--trust``."""
    rare = rare or parser
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the model runs (default: %(default)s)")
    fp16 = "keep FP16 weights on a CPU, which computes in FP32: less memory, more time"
    rare.add_argument("--keep-fp16", action=_Sets, const=KEEP_FP16, help=fp16)
    trust = "run an ONNX file whatever operators it holds, because you know who made it"
    rare.add_argument("--trust", action=_Sets, const=TRUST, help=trust)


def add_access(parser: Any) -> None:
    """``--token-file``, ``--token`` and ``--tls`` of a server's clients. ``parser``: or a group of its options."""
    file = "token for other machines, made if missing (default: MUTUALFORMER_TOKEN, else a new one is printed)"
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=file)
    parser.add_argument("--token", help="the token itself; every user of this machine can read it in the process list")
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERT", "KEY"), help="serve over TLS, both files in PEM")


class _Sets(argparse.Action):
    """Sets the environment variable ``const``, which sessions read, in child processes too."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: str, **how: object) -> None:
        super().__init__(option_strings, dest, nargs=0, const=const, default=argparse.SUPPRESS, help=str(how["help"]))

    def __call__(self, *arguments: Any, **options: Any) -> None:
        os.environ[str(self.const)] = "1"


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """``--gallery FILE``: a Path, or None where no identities are looked up."""
    about = "known things for a ReID model: a file of `gallery enrol`, or a folder of rgb/ and nir/IDENTITY_NUMBER.png"
    parser.add_argument("--gallery", type=Path, metavar="FILE|DIR", help=about)
