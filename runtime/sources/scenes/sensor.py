"""What real cameras do to a perfect image and a perfect depth map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.scenes.primitives import Array

Rng = np.random.Generator


def expose(radiance: Array, rng: Rng) -> NDArray[np.uint8]:
    """Linear radiance (H, W, 3) → uint8 RGB: exposure, white balance, vignette, blur, shot and read noise, gamma."""
    rows, columns = radiance.shape[:2]
    mean = max(float(radiance.mean()), 1e-3)
    image = radiance * (rng.uniform(0.18, 0.42) / mean)
    image *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.5:
        y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
        image *= (1 - rng.uniform(0, 0.35) * (x * x + y * y) / 2)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 0.9) * max(columns / 320, 0.5))
    noise = cv2.resize(rng.standard_normal((rows, columns, 3), dtype=np.float32), (columns, rows))
    image += noise * np.sqrt(np.maximum(image, 0) * rng.uniform(0, 0.0012) + rng.uniform(0, 0.00015))
    image = np.clip(image, 0, 1) ** (1 / 2.2)
    return np.asarray(image * 255 + 0.5, np.uint8)


def measure(depth: Array, focal: float, gloss: Array, rng: Rng) -> Array:
    """True depth (H, W) metres → what a depth camera reports, 0 = no measurement.

    Noise in disparity, so its deviation in depth grows with z²; quantised disparity; holes in the shadow beside near
    edges, on glossy surfaces, beyond the range and in speckles; edges that bleed by a pixel or two. How bad it is
    varies from a laboratory's ground truth to a cheap stereo head.
    """
    rows, columns = depth.shape
    quality = rng.random() ** 1.5  # 0 = perfect, 1 = bad
    scale = columns / 320
    baseline = 0.05 * float(np.median(depth)) / 2  # scaled with the scene
    disparity = focal * baseline / depth
    if quality > 0.15 and rng.random() < 0.6:  # bleeding: some foreground grows over its edge
        size = 1 + 2 * int(np.ceil(scale * rng.uniform(0.3, 1.2)))
        grown = cv2.dilate(disparity, np.ones((size, size), np.uint8))
        where = cv2.resize(rng.random((rows // 8 + 1, columns // 8 + 1), dtype=np.float32), (columns, rows)) < quality
        disparity = np.where(where, grown, disparity)
    coarse = cv2.resize(rng.standard_normal((rows // 4 + 1, columns // 4 + 1), dtype=np.float32), (columns, rows))
    fine = rng.standard_normal((rows, columns), dtype=np.float32)
    disparity = disparity + quality * scale * (0.05 * fine + 0.08 * coarse)
    if rng.random() < 0.5:
        step = np.float32(rng.uniform(0.02, 0.25)) * np.float32(scale * quality + 1e-3)
        disparity = np.round(disparity / step) * step
    measured = focal * baseline / np.maximum(disparity, 1e-3)
    holes = np.zeros((rows, columns), bool)
    # The other eye does not see what lies just beside a near edge: a strip as wide as the jump in disparity.
    shift = rng.integers(1, max(2, int(5 * scale)) + 1)
    side = 1 if rng.random() < 0.5 else -1
    beside = np.roll(disparity, side * shift, axis=1)
    if rng.random() < 0.85:
        holes |= beside - disparity > rng.uniform(0.3, 1.0) * scale
    if rng.random() < 0.5:  # glossy things reflect the projector away
        patches = cv2.resize(rng.random((rows // 10 + 2, columns // 10 + 2), dtype=np.float32), (columns, rows))
        holes |= (gloss > 0.5) & (patches < quality * 0.8)
    speckle = cv2.resize(rng.random((rows // 5 + 1, columns // 5 + 1), dtype=np.float32), (columns, rows))
    holes |= speckle < 0.25 * quality * rng.random()
    if rng.random() < 0.2:
        holes |= depth > float(np.percentile(depth, rng.uniform(70, 97)))
    if rng.random() < 0.3:  # the strip without overlap
        strip = int(columns * rng.uniform(0.01, 0.08))
        holes[:, :strip] = True
    if rng.random() < 0.3:
        grown_holes = cv2.dilate(holes.astype(np.uint8), np.ones((3, 3), np.uint8))
        holes = grown_holes.astype(bool)
    return np.where(holes, 0, measured).astype(np.float32)
