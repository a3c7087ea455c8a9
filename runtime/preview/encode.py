"""Results as JPEG images for the page: colour, depth in false colours, the saliency map as grey levels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.streaming.sinks import Result

QUALITY = 80
# No wider than a page shows them; depth and infrared have the small tiles.
WIDEST, WIDEST_SECOND = 640, 400


class EncodeError(RuntimeError):
    """An image could not be encoded."""


def _palette() -> NDArray[np.uint8]:
    """256 BGR colours, near = warm; 0 is a hole and stays black."""
    ramp = np.arange(255, -1, -1, dtype=np.uint8)[:, None]
    colours = np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO), np.uint8)
    colours[0] = 0
    return colours


PALETTE = _palette()


def jpeg(image: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """BGR (H, W, 3) or grey (H, W) → JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise EncodeError(f"an image of {image.shape} could not be encoded as JPEG")
    return bytes(data)


def shrink(image: NDArray[np.generic], widest: int) -> NDArray[np.generic]:
    """At most ``widest`` pixels wide."""
    height, width = image.shape[:2]
    if width <= widest:
        return image
    size = (widest, max(1, round(height * widest / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))


class Encoder:
    """Keeps the far end of the depth colours steady over time. ``far``: metres shown in the coldest colour."""

    def __init__(self) -> None:
        self.far = 0.0

    def __call__(self, result: Result) -> dict[str, bytes]:
        """JPEG per view: ``rgb`` always, ``nir`` or ``depth``, ``saliency`` at the model's size where there is one."""
        frame = result.frame
        views = {"rgb": jpeg(cv2.cvtColor(np.asarray(shrink(frame.rgb, WIDEST), np.uint8), cv2.COLOR_RGB2BGR))}
        if frame.nir is not None:
            views["nir"] = jpeg(np.asarray(shrink(frame.nir, WIDEST_SECOND), np.uint8)[..., 0])
        else:
            views["depth"] = jpeg(self.depth_colours(np.asarray(shrink(frame.depth, WIDEST_SECOND), np.float32)))
        if "saliency" in result.outputs:
            views["saliency"] = jpeg(cv2.convertScaleAbs(result.outputs["saliency"], alpha=255.0), 90)
        return views

    def depth_colours(self, depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W) metres → (H, W, 3) BGR; the range follows the scene slowly, so that colours do not flicker."""
        sample = depth[::8, ::8]
        measured = sample[sample > 0]
        if measured.size:
            far = float(np.percentile(measured, 98))
            self.far = far if self.far == 0 else 0.95 * self.far + 0.05 * far
        levels = cv2.convertScaleAbs(depth, alpha=255.0 / max(self.far, 0.1))
        return np.asarray(cv2.applyColorMap(levels, PALETTE), np.uint8)
