"""How a cut-out should look: upon which background, cropped or whole, finished or as the network left it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageColor, ImageOps

from mutualformer.errors import InputError
from mutualformer.runtime.images import rendering
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.sources.profiles import from_srgb

Image: TypeAlias = NDArray[np.uint8]
Background: TypeAlias = "str | tuple[int, int, int] | Image | None"

BLUR = "blur"
MARGIN = 0.02  # around the object in a crop, share of the longest side
BLURRED = 64  # pixels of the longest side to which a background is shrunk to blur it


class LookError(InputError):
    """The background is neither a colour nor a picture."""


@dataclass(frozen=True)
class Look:
    """``background``: None leaves cut-outs transparent; else a colour, a picture (H, W, 3) of any size, or "blur" for
    the picture's own. ``crop``: cut to the object. ``raw``: the network's map everywhere, not finished."""

    background: Background = None
    crop: bool = False
    raw: bool = False

    def to_json(self) -> list[str | bool]:
        """What distinguishes this look from another one."""
        behind = self.background
        picture = f"picture {zlib.crc32(behind.tobytes())}" if isinstance(behind, np.ndarray) else str(behind)
        return [picture, self.crop, self.raw]


AS_IT_IS = Look()


def background(text: str | None) -> Background:
    """``white``, ``#ff8800``, ``blur`` or a picture's path → a background. Raises LookError and DataError."""
    if text is None or text == BLUR:
        return text
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
        return red, green, blue
    except ValueError:
        if Path(text).is_file():
            return read_colour(Path(text), upright=True)
    raise LookError(f"background is {text!r}, expected a colour such as white or #ff8800, {BLUR}, or a picture's file")


def composed(front: Image, alpha: Image, rgb: Image, behind: Background, icc: bytes | None = None) -> Image:
    """``front`` (H, W, 3) by its alpha (H, W) upon the background; ``rgb``: the whole picture, for its own blur.

    ``icc``: the picture's colour profile, in which a colour or another picture, both sRGB, is expressed.
    """
    if isinstance(behind, str):
        below = blurred(rgb, alpha)
    elif isinstance(behind, np.ndarray):
        fitted = ImageOps.fit(Pillow.fromarray(behind), (rgb.shape[1], rgb.shape[0]))
        below = from_srgb(np.asarray(fitted, np.uint8), icc)
    else:
        below = np.broadcast_to(from_srgb(np.array([[behind]], np.uint8), icc), front.shape)
    canvas = np.empty_like(front)
    for rows in rendering.strips(front.shape):
        canvas[rows] = rendering.blend(front[rows], np.ascontiguousarray(below[rows]), alpha[rows])
    return canvas


def blurred(rgb: Image, alpha: Image) -> Image:
    """The picture's own background out of focus. The object has no weight in it, so that no halo surrounds it."""
    height, width = alpha.shape
    scale = BLURRED / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = 1 - cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255 + np.float32(1e-3)
    total = cv2.GaussianBlur(weight, (0, 0), 2)
    soft = cv2.GaussianBlur(small * weight[..., None], (0, 0), 2) / total[..., None]
    return np.asarray(cv2.resize(soft.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def cropping(alpha: Image) -> tuple[slice, slice]:
    """Rows and columns that hold all alpha above one half, with a margin; everything where there is none."""
    left, top, width, height = cv2.boundingRect(np.asarray(alpha > 127, np.uint8))
    if not width:
        return slice(None), slice(None)
    margin = round(MARGIN * max(alpha.shape))
    return slice(max(0, top - margin), top + height + margin), slice(max(0, left - margin), left + width + margin)
