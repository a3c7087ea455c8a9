"""Picture files, read one way by everybody: cameras, data sets, galleries and ``predict``.

One rule each: a header that declares more than :data:`MAX_PIXELS` is refused before it is decoded; EXIF's turn is
not applied (depth and masks of the same frame were made for the pixels as stored) unless a lone photograph is asked
for ``upright``; files are ordered as people count (``2.png`` before ``10.png``); what is hidden or no image is left
out. 16-bit colour is read by its own brightest value: the smallest of 8, 10, 12, 14 and 16 bits that holds it is white.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.header import Header, HeaderError, read_header, turned_back
from mutualformer.runtime.untrusted.foreign import foreign

MAX_PIXELS = 64_000_000
COLOUR_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
DEPTH_SUFFIXES = (*COLOUR_SUFFIXES, ".npy", ".exr")
COLOUR_BITS = (8, 10, 12, 14, 16)
# OpenCV's flags for what a file is read as; "stored" keeps type and channels.
_FLAGS = {
    "colour": cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION,
    "grey": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    "stored": cv2.IMREAD_UNCHANGED,  # implies that orientation is ignored
}


class ImageError(ValueError):
    """A file is missing, no image, damaged or too large: names the file and what was expected."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes. Raises ImageError: by Python and not by OpenCV, which hides why and dies of some names."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise ImageError(f"{path}: the file is empty, expected an image")
    return data


def header(data: bytes | memoryview, name: str) -> Header:
    """What an image declares, within :data:`MAX_PIXELS`. ``name`` names it in the ImageError."""
    try:
        size = read_header(data)
    except HeaderError as error:
        raise ImageError(f"{name}: cannot be decoded ({len(data)} bytes): {error}") from error
    if not size.pixels:
        raise ImageError(f"{name}: declares {size.width}×{size.height} pixels, expected an image")
    if size.pixels > MAX_PIXELS:
        raise ImageError(
            f"{name}: declares {size.width}×{size.height} pixels, expected at most {MAX_PIXELS // 1_000_000} million"
        )
    return size


def decode(data: bytes | memoryview, name: str, mode: str) -> NDArray[Any]:
    """Image bytes → pixels, of a size that was checked first.

    ``mode``: "colour" → (H, W, 3) uint8 in RGB order; "grey" → (H, W) uint8; "stored" → type and channels as they are,
    colour channels in BGR order. ``name`` names the image in the ImageError.
    """
    declared = header(data, name)
    if declared.format == "EXR":
        raise ImageError(f"{name}: is an EXR picture, which is read as depth only")
    if declared.format == "TIFF" and declared.orientation != 1:
        data = turned_back(data)
    with foreign("OpenCV", ImageError, name):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[mode])
    if image is None or not image.size:
        raise ImageError(f"{name}: cannot be decoded ({len(data)} bytes), expected a whole image")
    if mode != "colour":
        return np.asarray(image)
    return np.asarray(cv2.cvtColor(eight_bits(image, name), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def eight_bits(image: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Colour of 8 or 16 bits → 8 bits. Cameras of 10, 12 or 14 bits fill 16 no further: said once a folder."""
    if image.dtype == np.uint8:
        return np.asarray(image)
    if image.dtype != np.uint16:
        raise ImageError(f"{name}: colour is {image.dtype}, expected 8 or 16 bits a channel")
    high, low = image >> 8, image & 255
    if (low == high).all() or not low.any():  # 8 bits spread over 16, however dark
        return np.asarray(high, dtype=np.uint8)
    bits = next(bits for bits in COLOUR_BITS if int(image.max()) < 1 << bits)
    if bits < 16:
        _say_once(
            os.path.dirname(name) or name, f"{name}: 16-bit colour that never exceeds {bits} bits, read as {bits} bits"
        )
    return np.asarray(image >> (bits - 8), dtype=np.uint8)


_reported: set[str] = set()


def _say_once(key: str, sentence: str) -> None:
    """One warning for all files of a folder."""
    if key not in _reported:
        _reported.add(key)
        logging.getLogger("mutualformer").warning("%s", sentence)


# EXIF orientation → what to do with the stored pixels to see them upright (EXIF 2.32, 4.6.4).
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}


def read_colour(path: str | os.PathLike[str], upright: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture file; grey becomes three equal channels, transparency is dropped.

    ``upright``: turn it as its EXIF tag asks, for a photograph that no depth map or mask belongs to. Raises ImageError.
    """
    data = read_bytes(path)
    image = decode(data, str(path), "colour")
    return np.ascontiguousarray(_UPRIGHT[header(data, str(path)).orientation](image)) if upright else image


def orientation(path: str | os.PathLike[str]) -> int:
    """EXIF orientation of a picture file, 1 … 8; 1 = as stored. Raises ImageError."""
    return header(read_bytes(path), str(path)).orientation


def turned(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Those of ``paths`` whose tag asks for a turn; what cannot be read is told by whoever reads it."""
    names = []
    for path in paths:
        with contextlib.suppress(ImageError):
            if Path(path).suffix.lower() != ".npy" and orientation(path) != 1:
                names.append(str(path))
    return names


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key by which ``frame2`` comes before ``frame10``; equal numbers written differently keep a fixed order."""
    words = re.split(r"([0-9]+)", name)
    # Numbers by length and digits instead of int(): names may hold thousands of digits.
    numbers = [(len(word.lstrip("0")), word.lstrip("0")) for word in words[1::2]]
    texts = [word.casefold() for word in words[::2]]
    return tuple(item for pair in zip(texts, [*numbers, ()], strict=True) for item in pair), name


def hidden(path: Path) -> bool:
    """Whether a name is one of a system's own: ``.DS_Store``, ``._picture.jpg``, ``Thumbs.db``, …"""
    return path.name.startswith((".", "@", "__MACOSX")) or path.name.lower() in ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Listing:
    """Images of one folder. ``files``: frame → file, in natural order. ``twice``: (left out, kept instead).

    ``other``: files, not hidden, that are of no suffix that is read.
    """

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    twice: list[tuple[Path, Path]] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)


def list_images(
    folder: Path,
    suffixes: tuple[str, ...] = COLOUR_SUFFIXES,
    frame_of: Callable[[Path], str] = lambda path: path.stem,
) -> Listing:
    """The images in ``folder``; ``frame_of``: what the files of one frame have in common. Raises ImageError."""
    try:
        paths = [path for path in folder.iterdir() if not hidden(path) and not path.is_dir()]
    except OSError as error:
        raise ImageError(f"{folder}: cannot be listed ({error.strerror}), expected a folder of images") from error
    listing = Listing(folder)
    for path in sorted(paths, key=lambda path: natural_key(path.name)):
        if path.suffix.lower() not in suffixes:
            listing.other.append(path)
        elif (kept := listing.files.setdefault(frame_of(path), path)) is not path:
            listing.twice.append((path, kept))
    return listing
