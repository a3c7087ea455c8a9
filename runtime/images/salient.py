"""What a saliency map says in numbers: how much of the picture, where, and how far away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
ROW_STEP = 4  # every fourth row is plenty for a median


@dataclass(frozen=True)
class SalientObject:
    """``area``: salient share of the picture. ``box``: (left, top, right, bottom) as fractions, None when empty.

    ``distance_m``: median of the measured depth inside, metres; None without a measurement there.
    """

    area: float
    box: tuple[float, float, float, float] | None
    distance_m: float | None


def salient_object(
    saliency: NDArray[np.float32], depth: NDArray[np.float32] | None, threshold: float = THRESHOLD
) -> SalientObject:
    """``saliency`` (h, w) in [0, 1] at any size, ``depth`` (H, W) metres of the same view at any size, or None."""
    salient = saliency > threshold
    height, width = salient.shape
    area = float(salient.mean())
    rows, columns = np.flatnonzero(salient.any(axis=1)), np.flatnonzero(salient.any(axis=0))
    if not len(rows):
        return SalientObject(area, None, None)
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    edges = tuple(float(edge) for edge in box)
    return SalientObject(area, edges, _distance(salient, depth))  # type: ignore[arg-type]


def _distance(salient: NDArray[np.bool_], depth: NDArray[np.float32] | None) -> float | None:
    """Median metres at the pixels the map was made for."""
    if depth is None:
        return None
    height, width = salient.shape
    y = np.arange(0, height, ROW_STEP)
    ys, xs = y * depth.shape[0] // height, np.arange(width) * depth.shape[1] // width
    inside = depth[np.ix_(ys, xs)][salient[y]]
    measured = inside[inside > 0]
    return float(np.median(measured)) if len(measured) else None
