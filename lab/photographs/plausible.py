"""A depth map that could be a photograph's, drawn as the partial cue that real depth is.

All in inverse depth, u = 1/z: ground, walls and segments of the picture make the background. What is salient stands on
its ground and is continuous with it at its foot; other outlined things have depths of their own; a thing's parts lie
at different depths. A matcher then loses outlines where contrast is small, follows the picture's other edges, shifts
and fattens them and leaves blotches. One map in seven keeps the mask's clean outline: there are laser scanners too.

A drawing that gives the answer away teaches to trust depth more than a real sensor earns.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.masks import MIDDLE
from mutualformer.runtime.sources.scenes.sensor import measure

Rng = np.random.Generator
Map = NDArray[np.float32]
Mask = NDArray[np.uint8]

CLEAN = 0.15  # share of the maps whose outlines are the mask's
NEAREST = 2.5  # 1/m
LEAST_PIXELS = 50  # of a thing that gets a depth of its own


def _smooth(shape: tuple[int, int], cells: int, rng: Rng) -> Map:
    """Low-frequency noise, about unit deviation."""
    noise = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _structure(rgb: NDArray[np.uint8], rng: Rng) -> Map:
    """A piecewise flat field whose edges are edges of the picture: random levels for clusters of smoothed colour."""
    small = cv2.resize(rgb, (96, 96), interpolation=cv2.INTER_AREA)
    for _ in range(2):
        small = cv2.bilateralFilter(small, 7, 40, 5)
    mix = rng.normal(0, 1, 3).astype(np.float32)
    value = (small.astype(np.float32) - 128) @ mix / 128 + 0.7 * _smooth((96, 96), 3, rng)
    levels = int(rng.integers(3, 9))
    edges = np.quantile(value, np.sort(rng.random(levels)))
    field = rng.standard_normal(levels + 1).astype(np.float32)[np.digitize(value, edges)]
    field = cv2.medianBlur(field, 5)
    return np.asarray(cv2.resize(field, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def background(rgb: NDArray[np.uint8], rng: Rng) -> Map:
    """Inverse depth (H, W) in 1/m of everything but the object, in [0.1, 1.2]."""
    rows, columns = rgb.shape[:2]
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, columns, dtype=np.float32)[None, :]
    horizon = float(rng.uniform(-0.3, 0.75))
    near = float(rng.uniform(0.3, 1.2))
    ground = near * np.clip((y - horizon) / max(1 - horizon, 0.2), 0, 1)
    wall = float(rng.uniform(0.1, 0.45)) * (1 + float(rng.normal(0, 0.6)) * x)
    u = np.maximum(np.broadcast_to(ground, (rows, columns)), wall) if rng.random() < 0.8 else wall + 0 * y
    u = u + 0.04 * float(rng.random()) * _smooth((rows, columns), 4, rng)
    if rng.random() < 0.75:
        u = u + float(rng.uniform(0.01, 0.13)) * _structure(rgb, rng)
    return np.asarray(np.clip(u, 0.1, 1.2), np.float32)


def bulge(mask: Mask) -> Map:
    """Relief of a solid of that outline, (H, W) in [0, 1]: high in the middle, 0 at the edge."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return np.asarray(np.sqrt(distance / max(float(distance.max()), 1.0)), np.float32)


def _placed(outline: Mask, shape: tuple[int, int], rng: Rng) -> NDArray[np.bool_]:
    """``outline`` at a random size and place, the frame's border may cut it."""
    rows, columns = shape
    height, width = (max(8, int(n * rng.uniform(0.2, 0.9))) for n in shape)
    thing = cv2.resize(outline, (width, height), interpolation=cv2.INTER_NEAREST) > MIDDLE
    top = int(rng.integers(-height // 3, rows - height // 2))
    left = int(rng.integers(-width // 3, columns - width // 2))
    y, x = max(top, 0), max(left, 0)
    part = thing[y - top : rows - top, x - left : columns - left]
    full = np.zeros(shape, bool)
    full[y : y + part.shape[0], x : x + part.shape[1]] = part
    return full


def _stand(u: Map, solid: Mask, rng: Rng) -> Map:
    """Put every part of ``solid`` where its foot is: upright mostly, flat on what is behind, or anywhere near."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    stands = rng.random()
    for label in range(1, min(count, 12)):
        left, top, width, height, _ = (int(n) for n in stats[label])
        part = labels == label
        foot = np.zeros_like(solid)
        foot[max(top + height - max(height // 8, 2), 0) : top + height + 2, left : left + width] = 1
        around = u[(foot > 0) & (solid == 0)]
        base = float(np.median(around)) if around.size > 4 else float(np.median(u[part]))
        if stands < 0.85:  # upright on its foot: no step there, one where the ground recedes behind it
            level = base + (float(rng.uniform(0, 0.35)) if rng.random() < 0.9 else 0.0)
        elif stands < 0.93:  # a picture on a wall, a flower in grass
            continue
        else:
            level = base + float(rng.uniform(-0.1, 0.4))
        cells = int(rng.integers(2, 7))
        parts = float(rng.uniform(0, 0.07)) * _smooth((int(u.shape[0]), int(u.shape[1])), cells, rng)
        parts = parts + float(rng.uniform(0, 0.15)) * bulge(part.astype(np.uint8))
        u = np.where(part, np.float32(level) + parts, u)
    return u


def _guided(u: Map, rgb: NDArray[np.uint8], rng: Rng) -> Map:
    """``u`` with the edges of the picture: those without contrast fade, others appear (He et al., 2013)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    side = 1 + 2 * max(1, round(float(rng.uniform(0.008, 0.035)) * u.shape[1]))
    epsilon = np.float32(10 ** rng.uniform(-4, -2.3))

    def mean(image: Map) -> Map:
        return np.asarray(cv2.blur(image, (side, side)), np.float32)

    guide, value = mean(grey), mean(u)
    slope = (mean(grey * u) - guide * value) / (mean(grey * grey) - guide * guide + epsilon)
    return np.asarray(mean(slope) * grey + mean(value - slope * guide), np.float32)


def _matched(u: Map, rgb: NDArray[np.uint8], rng: Rng) -> Map:
    """The outlines of a stereo matcher instead of the mask's."""
    rows, columns = u.shape
    if rng.random() < 0.4:
        u = _guided(u, rgb, rng)
    if rng.random() < 0.25:  # what is near grows over its edge
        size = 1 + 2 * max(1, round(float(rng.uniform(0.003, 0.012)) * columns))
        u = np.asarray(cv2.dilate(u, np.ones((size, size), np.uint8)), np.float32)
    if rng.random() < 0.75:  # edges wander by one or two per cent of the width
        reach = float(rng.uniform(0.002, 0.012)) * columns
        dx, dy = (reach * _smooth((rows, columns), int(rng.integers(4, 14)), rng) for _ in range(2))
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        u = np.asarray(cv2.remap(u, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    if rng.random() < 0.2:  # blotches: a wrong match over a patch without texture
        field = _smooth((rows, columns), int(rng.integers(5, 14)), rng)
        u = np.where(field > np.quantile(field[::4, ::4], rng.uniform(0.9, 0.99)), u + float(rng.normal(0, 0.2)), u)
    return np.asarray(u, np.float32)


def plausible_depth(
    rgb: NDArray[np.uint8], mask: Mask, rng: Rng, others: Sequence[Mask] = (), here: Mask | None = None
) -> Map:
    """``rgb`` uint8 (H, W, 3), ``mask`` uint8 (H, W) → metres float32 (H, W), 0 where nothing was measured.

    ``others``: masks of any size, whose outlines become things that are not salient. ``here``: uint8 (H, W), 1 where
    the picture itself holds such things.
    """
    u = background(rgb, rng)
    rows, columns = mask.shape
    solid = (mask > MIDDLE).astype(np.uint8)
    clean = rng.random() < CLEAN
    for outline in others:
        full = _placed(outline, (rows, columns), rng) & (solid == 0)
        if np.count_nonzero(full) > LEAST_PIXELS:
            u = np.where(full, np.median(u[full]) + np.float32(rng.uniform(-0.2, 0.12)), u)
    if here is not None:
        u = _stand(u, here & (1 - solid), rng)
    u = _stand(u, solid, rng)
    u = u + float(rng.uniform(0, 0.035)) * _smooth((rows, columns), int(rng.integers(5, 18)), rng)
    u = np.clip(u, 0.1, NEAREST).astype(np.float32)
    if not clean:
        u = np.clip(_matched(u, rgb, rng), 0.1, NEAREST).astype(np.float32)
    return sensed(u, rng, clean)


def sensed(u: Map, rng: Rng, clean: bool = False) -> Map:
    """Inverse depth → metres as a source gives it: stereo's soft 8-bit map, a clean or a noisy sensor."""
    rows, columns = u.shape
    kind = 0.5 if clean else rng.random()
    if kind < 0.45:  # computed from a stereo pair or a light field: smooth, soft edges, a little beside the picture
        soft = cv2.GaussianBlur(u, (0, 0), float(rng.uniform(0.4, 2.5)) * columns / 256)
        move = np.asarray([[1, 0, rng.normal(0, 0.008) * columns], [0, 1, rng.normal(0, 0.004) * rows]], np.float32)
        soft = cv2.warpAffine(soft, move, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        low, high = float(soft.min()), float(soft.max())
        soft = np.round((soft - low) / max(high - low, 1e-3) * 255) / 255 * (high - low) + low
        return np.asarray(1 / np.clip(soft, 0.1, 3.3), np.float32)
    if kind < 0.6:
        return np.asarray(1 / u, np.float32)
    gloss = np.clip(_smooth((rows, columns), 8, rng), 0, 1)
    return measure((1 / u).astype(np.float32), focal=0.9 * columns, gloss=gloss, rng=rng)
