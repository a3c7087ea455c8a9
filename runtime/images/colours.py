"""Depth in false colours, the same on the live page and in every report: near is warm, far is cold, holes are black."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Relative steps of depth matter, so the colours follow 1 / distance, as the disparity of a stereo camera does.
PALETTE: NDArray[np.uint8] = np.ascontiguousarray(
    np.asarray(cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO), np.uint8)[:, 0, ::-1]
)
"""(256, 3) RGB; row 0 is the farthest, row 255 the nearest distance (Turbo, Mikhailov 2019)."""


def depth_range(metres: NDArray[np.float32]) -> tuple[float, float] | None:
    """(near, far) in metres of the measured pixels without two percent at either end; None where all are holes."""
    measured = metres[metres > 0]
    if not measured.size:
        return None
    near, far = np.percentile(measured, (2, 98))
    return float(near), float(far)


def depth_colours(metres: NDArray[np.float32], limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """(H, W) metres, 0 = hole → (H, W, 3) uint8 RGB.

    ``limits``: (near, far) in metres between which the colours are spread; None takes :func:`depth_range`.
    """
    limits = limits or depth_range(metres)
    if limits is None:
        return np.zeros((*metres.shape, 3), np.uint8)
    near, far = (max(float(limit), 1e-3) for limit in limits)
    low, high = 1.0 / far, 1.0 / near
    steps = 255.0 / max(high - low, 1e-6)
    position = np.divide(np.float32(steps), np.maximum(metres, 1e-3, dtype=np.float32))
    position -= np.float32(steps * low)
    levels = cv2.convertScaleAbs(np.maximum(position, 0, out=position))  # rounds and saturates at 255
    colours = np.asarray(cv2.applyColorMap(levels, PALETTE[:, None]), np.uint8)
    colours[metres <= 0] = 0
    return colours
