"""A rendered room of the training scenes as a moving picture: the camera slides sideways, near things move more.

Rendering every frame would take a third of a second, so the room is rendered twice at the start, with its objects
and without them, wider than the picture; each frame then shifts every pixel by focal · offset ÷ depth, which is exact
for floor, walls and each object as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.scenes.primitives import Pinhole
from mutualformer.runtime.sources.scenes.scene import Stage, set_up
from mutualformer.runtime.sources.scenes.sensor import expose

MARGIN = 0.25  # of the picture's width, rendered more on either side
SWAY = 0.13  # of the picture's width: how far the nearest object moves to either side
NEAREST_M, FARTHEST_M = 0.3, 12.0


@dataclass(frozen=True)
class _Layer:
    """One object: where it is on the wide canvas, what it looks like, and how far its middle is."""

    window: tuple[slice, slice]
    mask: NDArray[np.bool_]
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    distance: float


class MovingRoom:
    """``seed`` and ``shape`` (height, width) decide everything; ``focal`` in pixels.

    ``view(position)`` is the room from ``position`` in −1 … 1 along the camera's way.
    """

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        with np.errstate(all="ignore"):  # rays parallel to a face divide by zero: infinities compare as they should
            for attempt in range(8):
                stage = set_up(np.random.default_rng([seed, attempt]), shape)
                share = float((stage.draw(stage.camera).label > 0).mean())
                if 0.03 < share < 0.5:
                    break
            self._render(stage, np.random.default_rng([seed, attempt, 1]))

    def _render(self, stage: Stage, rng: np.random.Generator) -> None:
        height, width = self.shape
        self._margin = int(MARGIN * width)
        self.focal = stage.camera.focal
        wide = Pinhole((height, width + 2 * self._margin), self.focal, float(stage.camera.origin[1]), 0.0)
        wide.rotation = stage.camera.rotation
        wide.rays = np.einsum("ij,jhw->ihw", wide.rotation, wide.rays).astype(np.float32)
        whole, empty = stage.draw(wide), stage.draw(wide, objects=False)
        # Both are exposed as one picture, so that brightness and white balance agree between the layers.
        light = np.vstack((stage.light(whole, np.random.default_rng(1)), stage.light(empty, np.random.default_rng(1))))
        pictures = expose(light, rng)
        # Metres as a depth camera would like them: the median of what is in view lies at about two metres.
        scale = np.float32(2.0 / max(float(np.median(whole.depth)), 1e-3))
        depths = [np.clip(buffer.depth * scale, NEAREST_M, FARTHEST_M).astype(np.float32) for buffer in (whole, empty)]
        self._background, self._background_depth = pictures[height:], depths[1]
        self._layers = sorted(
            (
                self._layer(whole.label == label, pictures[:height], depths[0])
                for label in np.unique(whole.label)
                if label
            ),
            key=lambda layer: -layer.distance,
        )
        nearest = min((layer.distance for layer in self._layers), default=1.0)
        self._reach = SWAY * width * nearest  # focal × offset, pixels × metres
        rows, columns = np.indices(self.shape, np.float32)
        self._rows, self._columns = rows, columns + self._margin

    @staticmethod
    def _layer(mask: NDArray[np.bool_], rgb: NDArray[np.uint8], depth: NDArray[np.float32]) -> _Layer:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return _Layer(window, mask[window], rgb[window], depth[window], float(np.median(depth[mask])))

    def view(self, position: float) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        """(H, W, 3) uint8 RGB, (H, W) float32 metres without holes, (H, W) where the salient objects are."""
        width = self.shape[1]
        reach = self._reach * position
        visible = self._background_depth[:, self._margin : self._margin + width]
        columns = self._columns - np.float32(reach) / visible
        rgb = cv2.remap(self._background, columns, self._rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        depth = cv2.remap(
            self._background_depth, columns, self._rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        salient = np.zeros(self.shape, bool)
        for layer in self._layers:
            left = layer.window[1].start - self._margin + round(reach / layer.distance)
            first, last = max(0, left), min(width, left + layer.mask.shape[1])
            if first >= last:
                continue
            inside = slice(first - left, last - left)
            place = layer.window[0], slice(first, last)
            mask = layer.mask[:, inside]
            rgb[place][mask] = layer.rgb[:, inside][mask]
            depth[place][mask] = layer.depth[:, inside][mask]
            salient[place] |= mask
        return np.asarray(rgb, np.uint8), np.asarray(depth, np.float32), salient
