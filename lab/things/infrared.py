"""Near-infrared simulated from colour: what a material does to it, and what the sensor with its own light does.

Near-infrared reflectance cannot be computed from colour. What is known of it is drawn at random, once for a thing:

* mixing: a silicon sensor behind a long-pass filter follows red more than green and blue;
* chroma: dyes and pigments that look alike reflect differently, by up to a factor of two along two chroma axes;
* dye: most dark dyes of fabrics and plastics are transparent beyond 750 nm, so dark parts brighten;
* vegetation: chlorophyll reflects three to six times as much as in red;
* prints: inks without carbon vanish, which lowers the contrast of fine detail.

A view adds the active illumination (a spot that falls off from its centre and with distance), noise of photons and of
reading, defocus, and a parallax of up to 3 % of the box between the two sensors. The result has no colour.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
NOISE = np.random.default_rng(0).standard_normal(1 << 20, np.float32)  # drawing it anew would take most of the time
SIMULATED = (
    "simulated from colour (lab/things/infrared.py): channel mixing, dyes and vegetation that brighten, prints that "
    "vanish, active illumination that falls off, noise, parallax"
)


def reflectance(rgb: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """``rgb`` (H, W, 3) uint8 → (H, W) uint8; the same generator state gives the same material."""
    red, green, blue = (rgb[..., i].astype(np.float32) / 255 for i in range(3))
    mix = rng.dirichlet((5, 3, 2)).astype(np.float32)
    a, b = (float(x) for x in rng.normal(0, 0.7, 2))
    dye = float(rng.uniform(0.2, 0.7)) if rng.random() < 0.4 else 0.0
    vegetation, prints = float(rng.uniform(0.8, 2.0)), float(rng.uniform(0.0, 0.6))
    nir = (mix[0] * red + mix[1] * green + mix[2] * blue) * np.exp(a * (red - green) + b * (blue - green))
    nir = nir + dye * (1 - np.minimum(nir, 1)) ** 2
    nir = nir + vegetation * np.clip(green - np.maximum(red, blue), 0, 1)
    few = (max(1, nir.shape[1] // 12), max(1, nir.shape[0] // 12))
    plain = cv2.resize(cv2.resize(nir, few, interpolation=cv2.INTER_AREA), nir.shape[::-1])
    nir = nir + prints * (plain - nir)
    return np.asarray(np.clip(nir * 255, 0, 255), np.uint8)


def sense(nir: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """A reflectance (H, W) as the sensor sees it, (H, W, 3) uint8 of three equal channels."""
    height, width = nir.shape
    shift = rng.uniform(-0.03, 0.03, 2) * (width, height)
    seen = cv2.warpAffine(
        nir, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (width, height), borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centre, reach = rng.uniform(-0.8, 0.8, 2), float(rng.uniform(0.8, 3.0))
    spot = 1 / (1 + ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / reach**2)
    seen *= spot.astype(np.float32) * float(np.exp(rng.uniform(np.log(0.25), np.log(1.6))))
    if rng.random() < 0.5:
        seen = cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.4, 1.5)) * width / 128)
    return np.asarray(cv2.merge([noisy(seen, rng)] * 3), np.uint8)


def noisy(seen: NDArray[np.float32], rng: Rng) -> NDArray[np.uint8]:
    """Photon noise that grows with the root of the signal, and reading noise; (…) grey levels → uint8."""
    photons, reading = float(rng.uniform(0.0, 0.5)), float(rng.uniform(0.0, 2.0))
    start = int(rng.integers(NOISE.size - seen.size))
    noise = NOISE[start : start + seen.size].reshape(seen.shape)
    seen = seen + noise * np.sqrt(np.float32(reading**2) + np.float32(photons**2) * np.maximum(seen, 0))
    return np.asarray(np.clip(seen + 0.5, 0, 255), np.uint8)
