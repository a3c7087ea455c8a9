"""Ground truth: which pixels are the object, in whatever values an exporter wrote.

Two values are a mask, whatever they are: 0 and 1, 0 and 100, 0 and 255, 0 and 65535; the larger one is the object.
Grey masks are cut at half: of 255 where they reach above it, else of their own brightest value. A cut-out's mask may
lie in the alpha plane above a plain colour plane. A few small labels are no mask: which of them are objects, nobody
can tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.data.item import DataError, reading
from mutualformer.runtime.images.files import decode, read_bytes

MIDDLE = 127  # of 255: above it a pixel is object
GREY_SHARE = 0.01  # of a mask's pixels neither black nor white: JPEG's edges stay below
LABELS = 16  # at most so many small values are labels and not shades of grey
BORDER_SHARE = 0.8  # of the frame's border that is object in a mask that is upside down


class Mask(NamedTuple):
    """``pixels`` uint8 (H, W), 0 or 255. ``values``: up to three of the stored ones, for people. ``grey``: the share of
    pixels that were neither. ``border``: share of the picture's border that is object."""

    pixels: NDArray[np.uint8]
    values: tuple[int, ...]
    grey: float
    border: float

    @property
    def covered(self) -> float:
        """Share of the picture that is object."""
        return float(np.count_nonzero(self.pixels)) / self.pixels.size


def _plane(image: NDArray[Any], name: str) -> NDArray[Any]:
    """The channel that holds the mask."""
    if image.ndim == 2:
        return image
    colour = image[..., :3]
    if image.shape[2] == 4:
        alpha = image[..., 3]
        if (colour == colour[:1, :1]).all() and alpha.min() != alpha.max():
            return np.asarray(alpha)
    if image.shape[2] not in (3, 4):
        raise DataError(f"{name}: has {image.shape[2]} channels, expected a mask of one")
    return np.asarray(colour.max(axis=2))  # a palette's red is as much an object as its white


def binary(stored: NDArray[Any], name: str, inverted: bool = False) -> Mask:
    """A mask as stored, (H, W) or (H, W, C) integers → black and white. Raises DataError naming ``name``."""
    plane = _plane(stored, name)
    if plane.dtype.kind not in "iub":
        raise DataError(f"{name}: the mask is {plane.dtype}, expected whole numbers")
    values = np.unique(plane)
    low, high, grey = int(values[0]), int(values[-1]), 0.0
    full = 255 if high <= 255 else int(np.iinfo(plane.dtype).max)
    if len(values) == 1:
        object_ = np.full(plane.shape, high > 0)
    elif len(values) == 2:
        object_ = plane == high
    elif high <= full // 2 and len(values) <= LABELS and high <= LABELS * 2:
        examples = ", ".join(map(str, values[:6]))
        raise DataError(
            f"{name}: holds the labels {examples}, expected a mask of two values; which of them are objects?"
        )
    else:
        object_ = plane > (full // 2 if high > full // 2 else high // 2)
        top = full if high > full // 2 else high
        grey = float(np.mean((plane > top // 16) & (plane < top - top // 16)))
    if inverted:
        object_ = ~object_
    edge = np.concatenate([object_[0], object_[-1], object_[1:-1, 0], object_[1:-1, -1]])
    pixels = np.where(object_, np.uint8(255), np.uint8(0))
    return Mask(pixels, tuple(int(v) for v in (values if len(values) < 4 else (low, high))), grey, float(edge.mean()))


def read_mask(path: Path, inverted: bool = False) -> Mask:
    """The ground truth in an image file. Raises DataError."""
    return binary(reading(decode, reading(read_bytes, path), str(path), "stored"), str(path), inverted)
