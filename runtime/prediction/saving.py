"""Which files an answer becomes: one folder per kind, so that ``OUT/mask`` can be scored or used as it is."""

from __future__ import annotations

import errno
import json
import os
import secrets
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.files import naming
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.look import AS_IT_IS, Look
from mutualformer.runtime.prediction.unique_names import UNNAMED, Names

if TYPE_CHECKING:
    from mutualformer.runtime.prediction.result import Prediction

# The file system refuses the name: this picture's fault, and no reason to end the run.
BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ)

# Kind → its image. Masks and cut-outs must be exact (PNG); what people only look at may be JPEG.
IMAGES: dict[str, Callable[[Prediction, Look], NDArray[np.uint8]]] = {
    "mask": lambda result, look: rendering.grey(result.mask),
    "binary": lambda result, look: result.binary().astype(np.uint8) * np.uint8(255),
    "cutout": lambda result, look: result.cutout(look.background, look.crop),
    "overlay": lambda result, look: result.overlay(),
    "contour": lambda result, look: result.contour(),
}
KINDS = {"mask": ".png", "binary": ".png", "cutout": ".png", "overlay": ".jpg", "contour": ".jpg", "json": ".json"}
DEFAULT = ("mask", "binary", "cutout", "overlay")


class KindError(InputError):
    """A kind of file that is not made."""


def encoded(result: Prediction, kind: str, suffix: str, look: Look) -> bytes:
    """One file of an answer; colours keep the picture's own profile. Raises RenderError."""
    if kind == "json":
        return (json.dumps(result.to_json(), allow_nan=False) + "\n").encode()
    image = IMAGES[kind](result, look)
    return rendering.encoded(image, suffix, result.icc if image.ndim == 3 else None)


def kinds(text: str) -> tuple[str, ...]:
    """``mask,overlay`` or ``all`` → kinds, each once. Raises KindError."""
    words = list(KINDS) if text == "all" else [word.strip() for word in text.split(",") if word.strip()]
    if not words or not set(words) <= set(KINDS):
        raise KindError(f"what to make is {text!r}, expected some of {','.join(KINDS)}, or all")
    return tuple(dict.fromkeys(words))


def target(folder: Path, kind: str, name: str) -> Path:
    """The path of the ``kind`` of file for the frame called ``name``."""
    return folder / kind / (name + KINDS[kind])


def write(result: Prediction, folder: Path, what: Sequence[str], name: str, look: Look = AS_IT_IS) -> list[Path]:
    """Write the kinds ``what`` of one answer below ``folder``; returns their paths. Raises OSError, RenderError."""
    paths = [target(folder, kind, name) for kind in what]
    for path, kind in zip(paths, what, strict=True):
        write_fast(path, encoded(result, kind, KINDS[kind], look))
    return paths


_saved: dict[Path, int] = {}  # folder/name → checksum of the picture that this process saved there


def free_name(result: Prediction, folder: Path) -> str:
    """A name under which ``folder`` holds nothing of another picture; see :meth:`Prediction.save`."""
    picture = zlib.crc32(result.rgb.tobytes())
    absolute = folder.absolute()

    def taken(name: str) -> bool:
        before = _saved.get(absolute / name)
        if before is not None or result.name != UNNAMED:
            return before not in (None, picture)
        return any(target(folder, kind, name).exists() for kind in KINDS)

    name = Names(taken).give(result.name)
    _saved[absolute / name] = picture
    return name


def write_fast(path: Path, data: bytes) -> None:
    """Write a whole file or none of it, without waiting for the disk: a run writes thousands of these.

    A power cut can lose the newest of them; ``--resume`` then makes them again.
    """
    beside = path.with_name(f".{secrets.token_hex(6)}.part")  # short: the name itself may have the greatest length
    try:
        with naming(path, str(beside)):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
