"""Reads picture files, for cameras, data sets, galleries and ``predict`` alike.

``describe.py`` checks the header before anything is decoded. EXIF's orientation is not applied, because depth and
masks of the same frame were made for the pixels as stored, unless the caller asks for a lone photograph ``upright``.
Files are ordered as people count (``2.png`` before ``10.png``). White of 16-bit colour is the full scale of the
smallest of 8, 10, 12, 14 and 16 bits that holds the brightest value. The model sees sRGB over a neutral background; the
picture's own colours and transparency are kept beside that.
"""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.files import read_regular
from mutualformer.runtime.sources.describe import (
    EXR,
    MAX_PIXELS,
    NPY,
    Description,
    check_decoded,
    describe,
    untagged,
)
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.profiles import ink_to_srgb, to_srgb
from mutualformer.runtime.untrusted.foreign import foreign

COLOUR_SUFFIXES: tuple[str, ...] = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".pnm",
    ".gif",
    ".avif",
    ".heic",
    ".heif",
    ".jp2",
)
DEPTH_SUFFIXES = (*COLOUR_SUFFIXES, ".npy", ".exr", ".pfm")
MOST_BYTES = 8 * MAX_PIXELS  # of a file: the size of the largest depth map as .npy of 64 bits
COLOUR_BITS = (8, 10, 12, 14, 16)
NEUTRAL = 128  # grey that the model sees where a picture is wholly transparent
# OpenCV's flags per mode; "stored" keeps type and channels.
_FLAGS = {
    "colour": cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION,
    "grey": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    "stored": cv2.IMREAD_UNCHANGED,  # implies that orientation is ignored
}
BY_PILLOW = ("GIF", "AVIF", "HEIF", "JPEG2000")  # formats that not every build of OpenCV decodes


class Picture(NamedTuple):
    """``rgb`` uint8 (H, W, 3): what the model sees. ``original``: the pixels as stored where they differ from it.
    ``alpha`` uint8 (H, W): transparency, None where the file has none. ``icc``: the profile of ``original``."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc: bytes | None = None
    original: NDArray[np.uint8] | None = None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes. Raises DataError. Not read by OpenCV, which hides the reason and crashes on some names."""
    try:
        data = read_regular(Path(path), MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise DataError(f"{path}: the file is empty, expected a picture")
    return data


def decode(data: bytes | memoryview, name: str, mode: str) -> NDArray[Any]:
    """A picture's bytes → pixels; the declared size is checked first.

    ``mode``: "colour" → (H, W, 3) uint8 in RGB order; "grey" → (H, W) uint8; "stored" → type and channels as they are,
    colour channels in BGR order. ``name`` names the picture in the DataError.
    """
    data = bytes(data)
    return _decode(data, describe(data, name), name, mode)


def _decode(data: bytes, told: Description, name: str, mode: str) -> NDArray[Any]:
    if told.thumbnail:
        raise DataError(f"{name}: is a camera's raw file, of which only a thumbnail could be read; develop it first")
    if told.pictures > 1:
        others = f"; video:{name} gives all" if told.kind == "GIF" else ""
        text = f"{name}: holds {told.pictures} pictures, the first is taken{others}"
        _warn_once(f"pictures {os.path.dirname(name)}", text)
    by_ink = told.icc and told.channels == 4 and not told.alpha  # only Pillow gives CMYK, to which the profile applies
    if by_ink or told.kind in BY_PILLOW or (told.kind == "PPM" and told.floats):  # the latter is PFM
        image: NDArray[Any] | None = _by_pillow(data, told.kind, name, mode)
    else:
        if told.kind == "TIFF" and told.turn != 1:
            data = untagged(data)
        with foreign("OpenCV", DataError, name):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[mode])
    if image is None or not image.size:
        raise DataError(f"{name}: cannot be decoded ({len(data)} bytes), expected a whole picture")
    check_decoded(image, told, name)
    if mode != "colour":
        return np.asarray(image)
    return np.asarray(cv2.cvtColor(eight_bits(image, name), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _by_pillow(data: bytes, kind: str, name: str, mode: str) -> NDArray[Any]:
    """As OpenCV would: BGR or BGRA, or grey."""
    from PIL import Image

    with foreign("Pillow", DataError, name), Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.mode == "F" and mode == "stored":
            return np.asarray(image)
        if mode == "grey":
            return np.asarray(image.convert("L"))
        if image.mode == "CMYK" and "icc_profile" in image.info:
            image = ink_to_srgb(image)
        clear = mode == "stored" and ("A" in image.mode or "transparency" in image.info)
        pixels = np.asarray(image.convert("RGBA" if clear else "RGB"))
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if clear else cv2.COLOR_RGB2BGR))


def eight_bits(image: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Colour of 8 or 16 bits → 8 bits. Cameras of 10, 12 or 14 bits leave the rest of 16 empty: warns once a folder."""
    if image.dtype == np.uint8:
        return np.asarray(image)
    if image.dtype != np.uint16:
        raise DataError(f"{name}: colour is {image.dtype}, expected 8 or 16 bits a channel")
    # The brightest value shows how many bits the camera has. A dark picture of 16 bits looks like one of fewer bits,
    # hence the warning.
    high, low = image >> 8, image & 255
    if (low == high).all() or not low.any():  # 8 bits spread over 16, however dark
        return np.asarray(high, dtype=np.uint8)
    bits = next(bits for bits in COLOUR_BITS if int(image.max()) < 1 << bits)
    if bits < 16:
        _warn_once(
            os.path.dirname(name) or name, f"{name}: 16-bit colour that never exceeds {bits} bits, read as {bits} bits"
        )
    return np.asarray(image >> (bits - 8), dtype=np.uint8)


_reported: set[str] = set()


def _warn_once(key: str, sentence: str) -> None:
    """One warning for all files of a folder."""
    if key not in _reported:
        _reported.add(key)
        logging.getLogger("mutualformer").warning("%s", sentence)


# EXIF's orientations 1 … 8 (EXIF 2.32, 4.6.4): quarter turns to the left that put a picture upright. Pictures with an
# orientation in MIRRORED are mirrored back first.
TURNS, MIRRORED = (0, 0, 2, 2, 1, 3, 3, 1), (2, 4, 5, 7)


def _upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    mirrored = image[:, ::-1] if orientation in MIRRORED else image
    return np.ascontiguousarray(np.rot90(mirrored, TURNS[orientation - 1]))


def read_picture(path: str | os.PathLike[str], upright: bool = False) -> Picture:
    """A picture file, its transparency and its colour profile; grey becomes three equal channels.

    ``upright``: turn it as its EXIF tag asks, for a photograph that no depth map or mask belongs to. Raises DataError.
    """
    return picture(read_bytes(path), str(path), upright)


def picture(data: bytes, name: str, upright: bool = False) -> Picture:
    """As :func:`read_picture`, of a file's bytes; ``name`` names it in the DataError."""
    told = describe(data, name)
    turn = told.turn if upright and 1 <= told.turn <= 8 else 1
    if not told.alpha:
        stored, alpha = _upright(_decode(data, told, name, "colour"), turn), None
    else:
        image = _decode(data, told, name, "stored")
        alpha = None
        if image.ndim == 3 and image.shape[2] == 4:
            high = image[..., 3] >> 8 if image.dtype == np.uint16 else image[..., 3]
            if told.kind == "TIFF" and image.dtype == np.uint8:  # OpenCV multiplies these colours by their alpha
                image = cv2.divide(image, cv2.merge([high] * 4), scale=255)
            alpha = _upright(np.asarray(high, np.uint8), turn)
            image = image[..., :3]
        elif image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        colour = cv2.cvtColor(eight_bits(image, name), cv2.COLOR_BGR2RGB)
        stored = _upright(np.asarray(colour, np.uint8), turn)
    rgb, was_grey = to_srgb(stored, told.icc) if told.icc else (stored, False)
    if was_grey:  # files of colour pictures cannot keep the profile of a grey one
        stored = rgb
    # Editors leave arbitrary colours under transparent pixels, which the model would see.
    if alpha is not None and not alpha.all():
        rgb = np.where(alpha[..., None] == 0, np.uint8(NEUTRAL), rgb)
    elif alpha is not None and alpha.min() == 255:
        alpha = None
    return Picture(rgb, alpha, told.icc if rgb is not stored else None, None if rgb is stored else stored)


def read_colour(path: str | os.PathLike[str], upright: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture file, as :func:`read_picture`."""
    return read_picture(path, upright).rgb


def orientation(path: str | os.PathLike[str]) -> int:
    """EXIF orientation of a picture file, 1 … 8; 1 = as stored. Raises DataError."""
    data = read_bytes(path)
    return 1 if data.startswith((NPY, EXR)) else describe(data, str(path)).turn


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key by which ``frame2`` comes before ``frame10``; equal numbers written differently keep a fixed order."""
    words = re.split(r"([0-9]+)", name)
    # Numbers by length and digits instead of int(): names may hold thousands of digits.
    numbers = [(len(word.lstrip("0")), word.lstrip("0")) for word in words[1::2]]
    texts = [word.casefold() for word in words[::2]]
    return tuple(item for pair in zip(texts, [*numbers, ()], strict=True) for item in pair), name


def hidden(path: Path) -> bool:
    """Whether a file belongs to an operating system: ``.DS_Store``, ``._picture.jpg``, ``Thumbs.db``, …"""
    return path.name.startswith((".", "@", "__MACOSX")) or path.name.lower() in ("thumbs.db", "desktop.ini")
