"""Which files an answer becomes: one folder a kind, so that ``OUT/mask`` can be scored or fed on as it is."""

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

from mutualformer.errors import InputError
from mutualformer.runtime.files import naming
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.look import AS_IT_IS, Look
from mutualformer.runtime.prediction.unique_names import UNNAMED, Names

if TYPE_CHECKING:
    from mutualformer.runtime.prediction.result import Prediction

# What the file system says of a name, not of the disk: the picture's fault, not the end of the run.
BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ)


class KindError(InputError):
    """``--what`` names something that is not made."""


def _json(result: Prediction, look: Look) -> bytes:
    return (json.dumps(result.to_json(), allow_nan=False) + "\n").encode()


def cutout(result: Prediction, look: Look, suffix: str = ".png") -> bytes:
    """The cut-out as it is wanted, with the picture's own colour profile."""
    return rendering.encoded(result.cutout(look.background, look.crop), suffix, result.icc)


# Kind → (suffix, encoder). Masks and cut-outs must be exact, what people only look at may be JPEG.
KINDS: dict[str, tuple[str, Callable[[Prediction, Look], bytes]]] = {
    "mask": (".png", lambda result, look: rendering.png(rendering.grey(result.soft()))),
    "binary": (".png", lambda result, look: rendering.png(result.binary().astype(np.uint8) * np.uint8(255))),
    "cutout": (".png", cutout),
    "overlay": (".jpg", lambda result, look: rendering.jpeg(result.overlay())),
    "contour": (".jpg", lambda result, look: rendering.jpeg(result.contour())),
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


def target(folder: Path, kind: str, name: str) -> Path:
    """Where the ``kind`` of the frame whose given name is ``name`` goes."""
    return folder / kind / (name + KINDS[kind][0])


def write(result: Prediction, folder: Path, what: Sequence[str], name: str, look: Look = AS_IT_IS) -> list[Path]:
    """Write the kinds ``what`` of one answer below ``folder``; returns their paths. Raises OSError, RenderError."""
    paths = []
    for kind in what:
        path = target(folder, kind, name)
        write_fast(path, KINDS[kind][1](result, look))
        paths.append(path)
    return paths


_saved: dict[Path, int] = {}  # what this process saved: folder/name → the picture's checksum


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
    """A whole file or none of it, without waiting for the disk: thousands of these are written in a run.

    A power cut can lose the newest of them; ``--resume`` then does them again.
    """
    beside = path.with_name(f".{secrets.token_hex(6)}.part")  # short: the name itself may be as long as a disk allows
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
