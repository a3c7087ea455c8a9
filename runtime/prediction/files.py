"""Which files an answer becomes: one folder a kind, so that ``OUT/mask`` can be scored or fed on as it is."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.files import naming
from mutualformer.runtime.images import rendering


class KindError(InputError):
    """``--what`` names something that is not made."""


class Answer(Protocol):
    """What is written down: :class:`mutualformer.runtime.prediction.result.Prediction`, as far as files need it."""

    @property
    def name(self) -> str:
        """The frame's name; may contain folders."""

    @property
    def mask(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1]."""

    def binary(self) -> NDArray[np.bool_]:
        """(H, W): what counts as salient."""

    def cutout(self) -> NDArray[np.uint8]:
        """(H, W, 4) RGBA."""

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB."""

    def contour(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB."""

    def to_json(self) -> dict[str, Any]:
        """Box, distance and mask in plain JSON types."""


def _json(result: Answer) -> bytes:
    return (json.dumps(result.to_json(), allow_nan=False) + "\n").encode()


# Kind → (suffix, encoder). Masks and cut-outs must be exact, what people only look at may be JPEG.
KINDS: dict[str, tuple[str, Callable[[Answer], bytes]]] = {
    "mask": (".png", lambda result: rendering.png(rendering.grey(result.mask))),
    "binary": (".png", lambda result: rendering.png(np.where(result.binary(), 255, 0).astype(np.uint8))),
    "cutout": (".png", lambda result: rendering.png(result.cutout())),
    "overlay": (".jpg", lambda result: rendering.jpeg(result.overlay())),
    "contour": (".jpg", lambda result: rendering.jpeg(result.contour())),
    "json": (".json", _json),
}
DEFAULT = ("mask", "binary", "cutout", "overlay")


def kinds(text: str) -> tuple[str, ...]:
    """``mask,overlay`` or ``all`` → kinds, each once. Raises KindError."""
    words = list(KINDS) if text == "all" else [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in KINDS]
    if unknown or not words:
        raise KindError(f"--what is {text!r}, expected some of {','.join(KINDS)}, or all")
    return tuple(dict.fromkeys(words))


def safe_name(name: str) -> str:
    """A frame's name as a relative path that stays inside the output folder.

    Parts that would climb out, and the characters that no file system takes, become underscores.
    """
    parts = []
    for part in PurePosixPath(name).parts:
        if part == "/":
            continue
        clean = "".join("_" if ord(letter) < 32 or letter in '\\:*?"<>|\x7f' else letter for letter in part)
        parts.append("_" * len(clean) if set(clean) <= {"."} else clean)
    return "/".join(parts) or "picture"


def target(folder: Path, kind: str, name: str) -> Path:
    """Where the ``kind`` of frame ``name`` goes."""
    return folder / kind / (safe_name(name) + KINDS[kind][0])


def write(result: Answer, folder: Path, what: Sequence[str]) -> list[Path]:
    """Write the kinds ``what`` of one answer below ``folder``; returns their paths. Raises OSError, RenderError."""
    paths = []
    for kind in what:
        path = target(folder, kind, result.name)
        write_fast(path, KINDS[kind][1](result))
        paths.append(path)
    return paths


def write_fast(path: Path, data: bytes) -> None:
    """A whole file or none of it, without waiting for the disk: thousands of these are written in a run.

    A power cut can lose the newest of them; the journal then does them again.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with naming(path, str(beside)):
            try:
                beside.write_bytes(data)
            except FileNotFoundError:
                beside.parent.mkdir(parents=True, exist_ok=True)
                beside.write_bytes(data)
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
