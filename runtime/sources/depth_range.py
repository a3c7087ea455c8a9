"""Is this depth in metres? A model cannot recognise a wrong unit, so the first frames are checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.base import BaseCamera

# The range that models are trained for (Contract.depth_range_m); they clip depth outside of it.
NEAR_M, FAR_M = DEFAULT_RANGE = 0.3, 10.0
NEARLY_ALL = 0.8  # share of the pixels outside the range: above it the unit is doubtful
# Rooms, tables and streets reach farther than this; a map that does not was likely read with too small a scale.
SHALLOW_M = 1.2
# Metres per unit in common use: millimetres, TUM, tenths of millimetres, KITTI, centimetres, quarters of a millimetre.
COMMON_SCALES = (0.001, 0.0002, 0.0001, 1 / 256, 0.01, 0.00025, 1.0)
FRAMES, PLAUSIBLE = 3, 30  # odd frames in a row that cause the warning; plausible ones that end the checks


def plausible(
    depth: NDArray[np.float32], near: float = NEAR_M, far: float = FAR_M, share: float = NEARLY_ALL
) -> str | None:
    """What is odd about depth in metres (H, W), float32, 0 = no measurement; None where nothing is.

    Odd is a frame with at least ``share`` of the measured pixels outside ``near`` … ``far``. The clause names neither
    file nor remedy.
    """
    measured = depth[::4][depth[::4] > 0]
    if not measured.size:
        return None
    outside = np.mean((measured < near) | (measured > far))
    if outside < share:
        return None
    middle = np.median(measured)
    return f"{outside:.0%} of the measured pixels lie outside {near:g} … {far:g} m, their median is {middle:.3g} m"


def better_scales(depth: NDArray[np.float32], depth_scale: float) -> list[float]:
    """Metres per unit in common use that would put the scene at 0.3 … 10 m, the commonest first.

    ``depth``: metres made with ``depth_scale``.
    """
    measured = depth[::4][depth[::4] > 0]
    if not measured.size:
        return []
    raw = np.percentile(measured, (5, 50, 95)) / depth_scale
    fitting = []
    for scale in COMMON_SCALES:
        low, middle, high = raw * scale
        other = abs(scale / depth_scale - 1) > 0.01
        if other and low >= NEAR_M and high <= FAR_M and high >= SHALLOW_M and middle >= 0.5:
            fitting.append(scale)
    return fitting


class DepthWatch:
    """Checks the first frames of a camera until their depth is plausible or one warning was given."""

    def __init__(self, near: float = NEAR_M, far: float = FAR_M) -> None:
        self._range = near, far
        self._odd: list[str] = []
        self._left = PLAUSIBLE

    def observe(self, depth: NDArray[np.float32], source: BaseCamera) -> None:
        """``depth``: (H, W) metres of the next frame. Costs nothing once decided."""
        if not self._left or not depth.any():
            return
        clause = plausible(depth, *self._range)
        if clause is None:
            self._odd, self._left = [], self._left - 1
            return
        better = better_scales(depth, source.depth_scale or 1.0)
        self._odd.append(f"{clause}; is {f'depth_scale={better[0]:g} meant' if better else 'its unit right'}?")
        if len(self._odd) >= FRAMES:
            self.end(source)

    def end(self, source: BaseCamera) -> None:
        """Warn about the odd frames; at the end of a source also where there were only odd ones and fewer of them."""
        if self._odd and (len(self._odd) >= FRAMES or self._left == PLAUSIBLE):
            source.warn(f"{source.name}: {self._odd[0]}")
            self._odd, self._left = [], 0
