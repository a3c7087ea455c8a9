"""How a cut-out is wanted: upon what, cropped or whole, finished or as the network left it."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.images import rendering
from mutualformer.runtime.sources.pictures import read_colour

Image: TypeAlias = NDArray[np.uint8]
Background: TypeAlias = "str | tuple[int, int, int] | Image | None"

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}
BLUR = "blur"
MARGIN = 0.02  # of the longest side, around what is cropped to
BLURRED = 64  # pixels of the longest side to which a background is shrunk to blur it


class LookError(InputError):
    """``--background`` names no colour and no picture: one sentence."""


@dataclass(frozen=True)
class Look:
    """``background``: None leaves cut-outs transparent; a colour, a picture (H, W, 3) of any size, or "blur", the
    picture's own. ``crop``: to what was found. ``raw``: the network's map everywhere, nothing finished."""

    background: Background = None
    crop: bool = False
    raw: bool = False

    def to_json(self) -> list[str | bool]:
        """What tells this look from another one."""
        behind = self.background
        picture = f"picture {zlib.crc32(behind.tobytes())}" if isinstance(behind, np.ndarray) else str(behind)
        return [picture, self.crop, self.raw]


AS_IT_IS = Look()


def background(text: str | None) -> Background:
    """``white``, ``#ff8800``, ``blur`` or a picture's path → a background. Raises LookError and ImageError."""
    if text is None or text == BLUR:
        return text
    if (colour := COLOURS.get(text.lower())) is not None:
        return colour
    if code := re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text):
        digits = code[1] if len(code[1]) == 6 else "".join(2 * digit for digit in code[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if not Path(text).is_file():
        raise LookError(f"--background is {text!r}, expected {', '.join(COLOURS)}, #RRGGBB, {BLUR} or a picture's file")
    return read_colour(Path(text), upright=True)


def composed(front: Image, alpha: Image, rgb: Image, behind: Background) -> Image:
    """``front`` (H, W, 3) by its alpha (H, W) upon the background; ``rgb``: the whole picture, for its own blur."""
    if isinstance(behind, str):
        behind = blurred(rgb, alpha)
    elif isinstance(behind, np.ndarray):
        behind = covering(behind, (rgb.shape[0], rgb.shape[1]))
    canvas = np.empty_like(front)
    for rows in rendering.strips(front.shape):
        below = behind[rows] if isinstance(behind, np.ndarray) else np.full_like(front[rows], behind)
        canvas[rows] = rendering.blend(front[rows], below, alpha[rows])
    return canvas


def covering(picture: Image, shape: tuple[int, int]) -> Image:
    """The middle of a picture, scaled so that it covers (H, W)."""
    height, width = shape
    scale = max(height / picture.shape[0], width / picture.shape[1])
    across, down = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, (across, down), interpolation=method)
    top, left = (down - height) // 2, (across - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width], np.uint8)


def blurred(rgb: Image, alpha: Image) -> Image:
    """The picture's own background out of focus; the object adds nothing to it, so no halo surrounds it."""
    height, width = alpha.shape
    scale = BLURRED / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = 1 - cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255 + np.float32(1e-3)
    total = cv2.GaussianBlur(weight, (0, 0), 2)
    soft = cv2.GaussianBlur(small * weight[..., None], (0, 0), 2) / total[..., None]
    return np.asarray(cv2.resize(soft.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def cropping(alpha: Image) -> tuple[slice, slice]:
    """Rows and columns that hold all of the alpha (H, W) above one half, and a margin; all where there is none."""
    inside = alpha > 127
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    margin = round(MARGIN * max(alpha.shape))
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return slice(top, int(rows[-1]) + 1 + margin), slice(left, int(columns[-1]) + 1 + margin)
