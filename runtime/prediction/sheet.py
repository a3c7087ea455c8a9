"""The contact sheet: one strip per frame (picture, what each model found), in a grid that fits a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mutualformer.runtime.images import rendering

if TYPE_CHECKING:
    from mutualformer.runtime.prediction.result import Prediction

MOST = 48  # frames on a sheet
CELL = (150, 200)  # height, width of one picture on it, pixels
CAPTION = 20  # pixels
WIDEST = 1800  # pixels
PAPER = 250  # grey level between the pictures
CHECKER = (200, 235)  # grey levels


def every(count: int) -> int:
    """Show every so-many-th of ``count`` frames, so that at most :data:`MOST` are shown.

    It is a power of two: the choice for a longer run is part of the choice for a shorter one, so a stream of unknown
    length needs to keep few strips.
    """
    step = 1
    while count > MOST * step:
        step *= 2
    return step


def cell(image: NDArray[np.uint8], size: tuple[int, int] = CELL) -> NDArray[np.uint8]:
    """(H, W, 3) → (*size, 3): scaled to fit and centred on paper. BOX averages areas, and enlarges without blur."""
    padded = ImageOps.pad(Image.fromarray(image), size[::-1], Image.Resampling.BOX, color=(PAPER, PAPER, PAPER))
    return np.asarray(padded, np.uint8)


def checker(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3): the grey checkerboard that stands for transparency."""
    side = max(4, max(height, width) // 24)
    odd = (np.arange(height)[:, None] // side + np.arange(width)[None, :] // side) % 2
    return np.repeat(np.where(odd, *CHECKER).astype(np.uint8)[..., None], 3, axis=2)


def captioned(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A cell with a line of text below it."""
    return np.vstack((cell(image), _caption(text, CELL[1])))


def strip(rgb: NDArray[np.uint8], results: Sequence[Prediction], size: tuple[int, int] = CELL) -> bytes:
    """One frame's cells side by side, as JPEG: the picture, one overlay per model, the cut-out of a single model."""
    # Shrinking first is much faster than drawing on a large picture.
    scale = min(size[0] / rgb.shape[0], size[1] / rgb.shape[1])
    small = [result.thumbnail(scale) if scale < 1 else result for result in results]
    pictures = [small[0].rgb if small else rgb, *(result.overlay() for result in small)]
    if len(results) == 1:
        pictures.append(small[0].cutout(checker(*small[0].alpha.shape)))
    return rendering.jpeg(np.hstack([cell(picture, size) for picture in pictures]), 92)


def sheet(strips: Sequence[tuple[str, bytes]], models: Sequence[str]) -> bytes:
    """(name, strip) of each frame → one JPEG. ``models``: labels of the overlays, written into the first row."""
    rows = []
    for name, data in strips:
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        rows.append(np.vstack((np.asarray(image, np.uint8), _caption(name, image.shape[1]))))
    columns = max(1, min(WIDEST // rows[0].shape[1], len(rows)))
    rows += [np.full_like(rows[0], PAPER)] * (-len(rows) % columns)
    grid = np.vstack([np.hstack(rows[start : start + columns]) for start in range(0, len(rows), columns)])
    heads = ["picture", *models, *(["cut-out"] if len(models) == 1 else [])]
    head = np.hstack([_caption(text, CELL[1]) for text in heads * columns])
    return rendering.jpeg(np.vstack((head, grid)), 88)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """A line of small dark text. OpenCV's letters are ASCII; others become question marks."""
    canvas = np.full((CAPTION, width, 3), PAPER, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    room = max(4, width // 7)  # letters
    plain = plain if len(plain) <= room else "..." + plain[3 - room :]
    cv2.putText(canvas, plain, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return canvas
