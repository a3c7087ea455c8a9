"""The contact sheet: one strip a frame (picture, what each model found), in a grid that fits a screen."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.result import Prediction

MOST = 48  # frames on a sheet
CELL = (150, 200)  # height, width of one picture on it, pixels
CAPTION = 20
WIDEST = 1800
PAPER = 250
CHECKER = (200, 235)


def chosen(count: int, most: int = MOST) -> frozenset[int]:
    """At most ``most`` of ``count`` frames, evenly spread."""
    return frozenset(int(i) for i in np.linspace(0, count - 1, min(count, most)).round()) if count else frozenset()


def cell(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) shrunk and centred on a cell of paper."""
    size, scale = fitted(image.shape)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    canvas = np.full((*CELL, 3), PAPER, np.uint8)
    top, left = (CELL[0] - size[1]) // 2, (CELL[1] - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def fitted(shape: tuple[int, ...]) -> tuple[tuple[int, int], float]:
    """(width, height) of a picture (H, W) in a cell, and by how much it is scaled."""
    scale = min(CELL[0] / shape[0], CELL[1] / shape[1])
    return (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))), scale


def checker(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3): the grey checkerboard that stands for transparency."""
    side = max(4, max(height, width) // 24)
    odd = (np.arange(height)[:, None] // side + np.arange(width)[None, :] // side) % 2
    return np.repeat(np.where(odd, *CHECKER).astype(np.uint8)[..., None], 3, axis=2)


def captioned(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A cell with a line of text below it."""
    return np.vstack((cell(image), _caption(text, CELL[1])))


def strip(rgb: NDArray[np.uint8], results: Sequence[Prediction]) -> bytes:
    """One frame's cells side by side, as JPEG: the picture, one overlay a model, the cut-out of a single model."""
    (width, height), scale = fitted(rgb.shape)
    small = [result.thumbnail(height, width) if scale < 1 else result for result in results]
    cells = [cell(small[0].rgb if small else rgb), *(cell(result.overlay()) for result in small)]
    if len(results) == 1:
        cells.append(cell(small[0].cutout(checker(*small[0].alpha.shape))))
    return rendering.jpeg(np.hstack(cells), 92)


def sheet(strips: Sequence[tuple[str, bytes]], models: Sequence[str]) -> bytes:
    """(name, strip) of each frame → one JPEG. ``models``: labels of the overlays, written into the first row."""
    rows = []
    for name, data in strips:
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        rows.append(np.vstack((np.asarray(image, np.uint8), _caption(name, image.shape[1]))))
    columns = max(1, min(WIDEST // rows[0].shape[1], len(rows)))
    blank = np.full_like(rows[0], PAPER)
    rows += [blank] * (-len(rows) % columns)
    grid = np.vstack([np.hstack(rows[start : start + columns]) for start in range(0, len(rows), columns)])
    heads = ["picture", *models, *(["cut-out"] if len(models) == 1 else [])]
    head = np.hstack([np.hstack([_caption(text, CELL[1]) for text in heads])] * columns)
    return rendering.jpeg(np.vstack((head, grid)), 88)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """A line of small dark text. OpenCV's letters are ASCII; others become question marks."""
    canvas = np.full((CAPTION, width, 3), PAPER, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    room = max(1, width // 7)
    plain = plain if len(plain) <= room else "..." + plain[-max(1, room - 3) :]
    cv2.putText(canvas, plain, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return canvas
