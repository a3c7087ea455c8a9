"""A rendered room of the training scenes as a moving picture: the camera turns left and right.

Rendering every frame would take a third of a second, so the room is rendered once, wider than the picture, and each
frame is a window of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.scenes.primitives import Pinhole
from mutualformer.runtime.sources.scenes.scene import set_up
from mutualformer.runtime.sources.scenes.sensor import expose

SWAY = 0.13  # of the picture's width: how far the picture moves to either side
MEDIAN_M, NEAREST_M, FARTHEST_M = 2.0, 0.3, 12.0  # depths within the range of a depth camera
ATTEMPTS, LEAST_COVERED, MOST_COVERED = 8, 0.03, 0.5  # shares of the picture that salient objects may cover


class MovingRoom:
    """``seed`` and ``shape`` (height, width) determine the room. ``focal``: focal length in pixels."""

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        height, self._width = shape
        self._margin = int(SWAY * self._width) + 1
        # Draw rooms until the salient objects are neither specks nor most of the picture; else keep the last room.
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([seed, attempt])
            stage = set_up(rng, shape)
            eye = stage.camera
            wide = Pinhole((height, self._width + 2 * self._margin), eye.focal, float(eye.origin[1]), eye.pitch)
            buffer, radiance = stage.picture(wide, rng)
            self._salient = buffer.label > 0
            if LEAST_COVERED < self._salient[:, self._margin : -self._margin].mean() < MOST_COVERED:
                break
        self.focal = eye.focal
        scale = np.float32(MEDIAN_M / max(float(np.median(buffer.depth)), 1e-3))
        self._depth = np.clip(buffer.depth * scale, NEAREST_M, FARTHEST_M).astype(np.float32)
        self._rgb = expose(radiance, rng)

    def view(self, position: float) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        """The room at ``position`` in −1 … 1 of the camera's turn.

        (H, W, 3) uint8 RGB, (H, W) float32 metres without holes, (H, W) where the salient objects are.
        """
        left = round(self._margin - SWAY * self._width * position)
        window = slice(left, left + self._width)
        return self._rgb[:, window].copy(), self._depth[:, window].copy(), self._salient[:, window].copy()
