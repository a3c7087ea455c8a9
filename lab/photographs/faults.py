"""What goes wrong with depth between the sensor and the model; the picture is right, and so is its mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Map = NDArray[np.float32]


def spoil(depth: Map, other: Map, rng: Rng) -> Map:
    """``depth`` (H, W) metres with one fault; ``other``: another frame's map of the same size (a frozen camera).

    Frozen, moved, mirrored, noise only, a wrong unit (everything beyond the range), half or most of it missing.
    """
    rows, columns = depth.shape
    kind = rng.random()
    if kind < 0.4:
        return other.copy()
    if kind < 0.5:
        move = np.asarray([[1, 0, rng.normal(0, 0.12) * columns], [0, 1, rng.normal(0, 0.12) * rows]], np.float32)
        return np.asarray(cv2.warpAffine(depth, move, (columns, rows), flags=cv2.INTER_NEAREST), np.float32)
    if kind < 0.6:
        return np.ascontiguousarray(depth[:, ::-1])
    if kind < 0.7:
        cells = int(rng.integers(2, 40))
        noise = rng.uniform(0.3, 6.0, (cells, cells)).astype(np.float32)
        return np.asarray(cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_NEAREST), np.float32)
    if kind < 0.78:
        return np.asarray(depth * np.float32(rng.choice([1000.0, 0.001, 25.0])), np.float32)
    return holed(depth, float(rng.uniform(0.3, 0.97)), rng)


def holed(depth: Map, share: float, rng: Rng) -> Map:
    """About ``share`` of the measurements gone, in patches as large as those of a cheap sensor."""
    rows, columns = depth.shape
    cells = int(rng.integers(4, 28))
    field = rng.random((cells + 1, cells + 1), dtype=np.float32)
    field = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.where(field < np.quantile(field, share), np.float32(0), depth)
