"""Results as JPEG images for the page: colour, depth in false colours, the saliency map as grey levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.colours import depth_colours, depth_range
from mutualformer.runtime.images.rendering import grey, jpeg

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result

QUALITY = 80
# Pixels. The page shows colour no wider than this; depth and near infrared fill its small tiles.
WIDEST, WIDEST_SECOND = 640, 400
# Weight of each new frame's depth range: at 30 fps the colours follow the scene within a second.
FOLLOW = 0.05


def shrink(image: NDArray[np.generic], widest: int) -> NDArray[np.generic]:
    """At most ``widest`` pixels wide."""
    height, width = image.shape[:2]
    if width <= widest:
        return image
    size = (widest, max(1, round(height * widest / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))


class Encoder:
    """Encodes the frames of one camera, with depth colours that change slowly.

    ``near``, ``far``: metres of the warmest and the coldest colour; 0 until a frame had depth.
    """

    def __init__(self) -> None:
        self.near = self.far = 0.0

    def __call__(self, result: Result) -> dict[str, bytes]:
        """JPEG per view: ``rgb``; ``nir``, or ``depth`` once a frame had any; ``saliency`` at the model's size."""
        frame = result.frame
        views = {"rgb": jpeg(np.asarray(shrink(frame.rgb, WIDEST), np.uint8), QUALITY)}
        if frame.nir is not None:
            views["nir"] = jpeg(np.asarray(shrink(frame.nir, WIDEST_SECOND), np.uint8)[..., 0], QUALITY)
        else:
            colours = self.depth_colours(np.asarray(shrink(frame.depth, WIDEST_SECOND), np.float32))
            if self.far > 0:  # a source without depth has no depth view
                views["depth"] = jpeg(colours)
        if "saliency" in result.outputs:
            views["saliency"] = jpeg(grey(result.outputs["saliency"]), 90)
        return views

    def depth_colours(self, depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W) metres → (H, W, 3) RGB. The range follows the scene slowly, so that colours do not flicker."""
        limits = depth_range(depth[::8, ::8])
        if limits is not None:
            if self.far == 0:
                self.near, self.far = limits
            self.near += FOLLOW * (limits[0] - self.near)
            self.far += FOLLOW * (limits[1] - self.far)
        return depth_colours(depth, (self.near, self.far))
