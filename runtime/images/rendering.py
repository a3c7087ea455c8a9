"""Pictures made from a saliency map: soft mask, cut-out, overlay, contour. Pure functions over NumPy arrays.

One definition for ``predict``, the live page's snapshots and the reports. Colours are RGB everywhere; whoever writes
a file with OpenCV turns them around (:func:`png`, :func:`jpeg`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import Error

TINT = (255, 140, 0)  # orange: rare in nature and readable for all kinds of colour vision
TINT_SHARE = 0.45
LINE = (0, 255, 170)


class RenderError(Error, RuntimeError):
    """An image could not be encoded."""


def soft_mask(saliency: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) in [0, 1] at the model's size → (H, W) at the picture's, bilinear as the evaluation does it."""
    if saliency.shape == shape:
        return np.asarray(saliency, np.float32)
    return np.asarray(cv2.resize(saliency, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def grey(mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) in [0, 1] → 8-bit levels, rounded."""
    return np.asarray(cv2.convertScaleAbs(mask, alpha=255.0), np.uint8)


def _check(rgb: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    if rgb.shape[:2] != mask.shape:
        raise ValueError(f"picture is {rgb.shape[:2]} and mask {mask.shape}, expected one size for both")


def cutout(rgb: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 4) RGBA: the picture with the soft mask as its alpha plane.

    Where the mask is 0 the colour is black too, so that nobody finds the background in a file meant to hide it.
    """
    _check(rgb, mask)
    alpha = grey(mask)
    hidden = cv2.bitwise_and(rgb, rgb, mask=alpha)
    return np.asarray(np.dstack((hidden, alpha)), np.uint8)


def overlay(rgb: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3): the picture, tinted where it is salient and darkened where it is not, with the contour drawn."""
    _check(rgb, mask)
    # Fixed-point blending in 8 bits: three times as fast as float32 and never more than one level off.
    inside = cv2.addWeighted(rgb, 1 - TINT_SHARE, np.full_like(rgb, TINT), TINT_SHARE, 0)
    outside = cv2.convertScaleAbs(rgb, alpha=0.6)
    share = cv2.cvtColor(grey(mask), cv2.COLOR_GRAY2BGR)
    blended = cv2.add(cv2.multiply(inside, share, scale=1 / 255), cv2.multiply(outside, 255 - share, scale=1 / 255))
    return _draw_contour(blended, mask, 0.5)


def contour(rgb: NDArray[np.uint8], mask: NDArray[np.float32], threshold: float = 0.5) -> NDArray[np.uint8]:
    """(H, W, 3): the picture with a line around what lies above ``threshold``."""
    _check(rgb, mask)
    return _draw_contour(rgb.copy(), mask, threshold)


def _draw_contour(canvas: NDArray[np.uint8], mask: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    salient = np.asarray(mask > threshold, np.uint8)
    lines, _ = cv2.findContours(salient, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, lines, -1, LINE, max(1, round(max(canvas.shape[:2]) / 320)), cv2.LINE_8)
    return canvas


def png(image: NDArray[np.uint8], level: int = 1) -> bytes:
    """Grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) → PNG. Level 1: a tenth of the time for a fifth more bytes.

    Run-length matches are what masks and cut-outs are made of: smaller by 8 % than zlib's own search, and sooner done.
    """
    strategy = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, level, *strategy])


def jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Grey (H, W) or RGB (H, W, 3) → JPEG."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(suffix, image, options)
    if not ok:
        raise RenderError(f"an image of {image.shape} could not be encoded as {suffix[1:].upper()}")
    return bytes(data)
