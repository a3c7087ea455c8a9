"""Ground truth: which pixels are the object, in whatever values an exporter wrote.

Any two values are a mask: 0 and 1, 0 and 100, 0 and 255, 0 and 65535; the larger one is the object. Grey masks are
thresholded at half of white where they reach white, else at half of their commonest bright value. The mask of a cut-out
is its alpha channel. Ambiguous files are refused: a few labels (which of them are objects?), labels beside 255 (which
marks undecided pixels), colours of equal brightness, a photograph.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.describe import describe
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.pictures import decode, read_bytes

MIDDLE = 127  # of 255: above it a pixel is object
# Edges of a mask are grey, its inside is not: where flat patches of one shade cover this share of the picture, the
# shades mean something (an instance, undecided pixels). Blurred and JPEG-compressed edges have no flat patches.
SHADES_SHARE = 0.002
LABELS = 16  # a mask of at most this many values holds labels, one of more holds shades of grey
SMALL = 2 * LABELS  # values up to this are numbers of classes or instances
FEW_ABOVE = 0.1  # JPEG ringing may push up to 10 % of a dark mask's foreground above half of white; tolerate that
# In a mask, whose edges alone are grey, at least this share of the pixels above black has one of 16 brightnesses.
ONE_LEVEL = 0.7
# Nine of ten photographs of DUTS have a smaller share in one brightness; a coloured mask that covers a tenth of the
# picture has a larger one, even as JPEG of quality 50.
PICTURE_LEVEL, PICTURE_LIT = 0.3, 0.1
BORDER_SHARE = 0.8  # of the picture's border: an inverted mask marks more of it as object
CHROMA = 24  # of 255: channels of colour differ by more, those of grey in a JPEG by less


class Mask(NamedTuple):
    """``pixels`` uint8 (H, W), 0 or 255. ``values``: up to three of the stored ones, for reports. ``shades``: the share
    of pixels in flat patches of a value that is neither black nor white. ``border``: the share of the picture's border
    that is object."""

    pixels: NDArray[np.uint8]
    values: tuple[int, ...]
    shades: float
    border: float

    @property
    def covered(self) -> float:
        """Share of the picture that is object."""
        return float(np.count_nonzero(self.pixels)) / self.pixels.size


def _plane(image: NDArray[Any], name: str) -> NDArray[Any]:
    """The channel that holds the mask. Raises DataError where colours do not separate the object."""
    if image.ndim == 2:
        return image
    if image.shape[2] not in (3, 4):
        raise DataError(f"{name}: has {image.shape[2]} channels, expected a mask of one")
    colour = image[..., :3]
    plane = np.asarray(colour.max(axis=2))  # red of a palette marks an object as much as white does
    if image.shape[2] == 4 and image[..., 3].min() < np.iinfo(image.dtype).max:
        if (colour == colour[:1, :1]).all() or _brightness(plane)[0] < ONE_LEVEL:
            return np.asarray(image[..., 3])
    if np.ptp(plane) < np.ptp(colour, axis=(0, 1)).max() // 2:
        raise DataError(
            f"{name}: holds colours of one brightness, expected a black and white mask: make the object white and the "
            "rest black"
        )
    level, lit = _brightness(plane)
    if np.ptp(colour, axis=2).max() > CHROMA and level < PICTURE_LEVEL and lit > PICTURE_LIT:
        raise DataError(f"{name}: is a picture, expected its mask: the object white and the rest black")
    return plane


def _brightness(plane: NDArray[Any]) -> tuple[float, float]:
    """(share of the pixels above black that have the commonest of 16 brightnesses, share that lie above black)."""
    white = 255 if plane.max() <= 255 else np.iinfo(plane.dtype).max
    lit = plane[plane > white // LABELS].astype(np.int64)
    if not lit.size:
        return 1.0, 0.0
    return np.bincount(lit * LABELS // (white + 1)).max() / lit.size, lit.size / plane.size


def _flat(plane: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a pixel and all of its eight neighbours have one value."""
    exact = plane if plane.dtype in (np.uint8, np.uint16) else plane.astype(np.float64)
    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.erode(exact, square) == cv2.dilate(exact, square))


def _refuse_labels(plane: NDArray[Any], values: NDArray[Any], half: int, name: str) -> None:
    """Raise DataError for a few values that number classes or instances."""
    low, high = int(values[0]), int(values[-1])
    between = plane[_flat(plane) & (plane > low) & (plane < high)]
    marked = between.size >= SHADES_SHARE * plane.size
    shown = ", ".join(map(str, values[:6]))
    if high <= SMALL or (high <= half and marked):
        raise DataError(f"{name}: holds the labels {shown}, expected a mask of two values; which of them are objects?")
    # As in PASCAL VOC: numbers of classes, and 255 for undecided pixels.
    if high >= half and int(values[-2]) <= SMALL and between.size:
        raise DataError(
            f"{name}: holds {', '.join(map(str, values[:-1][:6]))} and {high}, labels and a mark for what is "
            "undecided, expected a mask of two values: make the object 255 and the rest 0"
        )


def _cut(plane: NDArray[Any], high: int, half: int) -> tuple[int, int]:
    """(threshold above which a grey mask is object, the value of its white)."""
    level = int(np.bincount(plane[plane > high // 4].astype(np.int64)).argmax())
    above, beyond = plane > level // 2, np.mean(plane > half)
    near = np.abs(plane.astype(np.int64) - level) <= max(1, level // 4)
    if level <= half and beyond < FEW_ABOVE * above.mean() and near.sum() >= ONE_LEVEL * above.sum():
        return level // 2, level  # its white is darker than half; values above it are ringing
    return (half, 2 * half + 1) if high > half else (high // 2, high)


def binary(stored: NDArray[Any], name: str, inverted: bool = False) -> Mask:
    """A mask as stored, (H, W) or (H, W, C) integers → black and white. Raises DataError naming ``name``."""
    if stored.dtype.kind not in "iub":
        raise DataError(f"{name}: the mask is {stored.dtype}, expected whole numbers")
    plane = _plane(stored, name)
    values = np.unique(plane)
    low, high, shades = int(values[0]), int(values[-1]), 0.0
    if low < 0 or high > 65535:
        raise DataError(f"{name}: the mask holds {low} … {high}, expected values from 0 to 65535")
    half = (255 if high <= 255 else 65535) // 2
    if len(values) == 1:
        object_ = np.full(plane.shape, high > 0)
    elif len(values) == 2:
        object_ = plane == high
    else:
        if len(values) <= LABELS:
            _refuse_labels(plane, values, half, name)
        cut, white = _cut(plane, high, half)
        object_ = plane > cut
        middle = (plane > white // 16) & (plane < white - white // 16)
        shades = float(np.mean(middle & _flat(plane)))
    if inverted:
        object_ = ~object_
    edge = np.concatenate([object_[0], object_[-1], object_[1:-1, 0], object_[1:-1, -1]])
    pixels = np.where(object_, np.uint8(255), np.uint8(0))
    shown = tuple(int(v) for v in (values if len(values) < 4 else (low, high)))
    return Mask(pixels, shown, shades, float(edge.mean()))


def read_mask(path: Path, inverted: bool = False) -> Mask:
    """The ground truth in a picture file. Raises DataError."""
    data = read_bytes(path)
    told = describe(data, str(path))
    indices = _palette_indices(data) if told.palette and told.kind in ("PNG", "GIF", "BMP") else None
    return binary(decode(data, str(path), "stored") if indices is None else indices, str(path), inverted)


def _palette_indices(data: bytes) -> NDArray[np.uint8] | None:
    """The indices into a coloured palette (PASCAL VOC: classes, 255 undecided), None where the palette is grey.

    Brightness of such a palette means nothing: VOC paints class 8 dark and undecided pixels bright.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        indices = np.asarray(image)
        palette = np.asarray(image.getpalette("RGB"), np.int64).reshape(-1, 3)
    used = palette[np.unique(indices[indices < len(palette)])]
    return indices if used.size and np.ptp(used, axis=1).max() > CHROMA else None
