"""A depth map that could be a photograph's: ground, walls, segments of the picture, and the object where it stands.

All in inverse depth, u = 1/z:

    u(y, x) = ground(y) ∨ wall(y, x) + structure(y, x)        background; structure follows the picture's edges
    u_object = u at its foot + bulge                            mostly; else level with, or behind, its surroundings

The map is a guess and must not be the answer: in a quarter of the pictures the object does not stand out in depth, and
near things that are not salient (ground in front, segments, blobs) stand out in every second one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.masks import MIDDLE
from mutualformer.runtime.sources.scenes.sensor import measure

Rng = np.random.Generator
Map = NDArray[np.float32]


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


def bulge(mask: NDArray[np.uint8]) -> Map:
    """Relief of a solid of that outline, (H, W) in [0, 1]: high in the middle, 0 at the edge."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return np.asarray(np.sqrt(distance / max(float(distance.max()), 1.0)), np.float32)


def _near_blob(u: Map, mask: NDArray[np.uint8], rng: Rng) -> Map:
    """Something near that is not salient: the lower edge, a pole, a blob outside the object."""
    rows, columns = u.shape
    blob = np.zeros((rows, columns), np.uint8)
    kind = rng.random()
    if kind < 0.4:
        centre = (int(rng.integers(columns)), int(rng.integers(rows)))
        axes = (int(columns * rng.uniform(0.05, 0.25)), int(rows * rng.uniform(0.05, 0.25)))
        cv2.ellipse(blob, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    elif kind < 0.7:
        left = int(rng.integers(columns))
        blob[:, left : left + int(columns * rng.uniform(0.02, 0.12)) + 1] = 1
    else:
        blob[int(rows * rng.uniform(0.75, 0.97)) :] = 1
    blob[mask > 0] = 0
    return np.where(blob > 0, np.maximum(u, float(u.max()) * np.float32(rng.uniform(0.8, 1.4))), u)


def plausible_depth(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], rng: Rng) -> Map:
    """``rgb`` uint8 (H, W, 3), ``mask`` uint8 (H, W) → metres float32 (H, W), 0 where nothing was measured."""
    u = background(rgb, rng)
    solid = (mask > MIDDLE).astype(np.uint8)
    if rng.random() < 0.5:
        u = _near_blob(u, solid, rng)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    stands = rng.random()
    for label in range(1, min(count, 12)):
        left, top, width, height, _ = (int(n) for n in stats[label])
        part = labels == label
        foot = np.zeros_like(solid)
        foot[max(top + height - max(height // 8, 2), 0) : top + height + 2, left : left + width] = 1
        around = u[(foot > 0) & (solid == 0)]
        surroundings = float(np.median(around)) if around.size > 4 else float(np.median(u[part]))
        if stands < 0.74:  # in front of what is around it
            level = max(surroundings, float(np.quantile(u[part], 0.7))) + float(rng.uniform(0.02, 0.45))
        elif stands < 0.88:  # flat on or in something: a picture on a wall, a flower in grass
            level = float("nan")
        elif stands < 0.94:  # behind: seen through an opening
            level = max(0.1, surroundings - float(rng.uniform(0.02, 0.2)))
        else:
            level = float(rng.uniform(0.1, 1.3))
        if level == level:
            lean = float(rng.normal(0, 0.05)) * np.linspace(-0.5, 0.5, u.shape[0], dtype=np.float32)[:, None]
            relief = float(rng.uniform(0, 0.12)) * bulge(part.astype(np.uint8))
            u = np.where(part, level + relief + lean, u)
    u = np.clip(u, 0.1, 2.5).astype(np.float32)
    return sensed(u, rng)


def sensed(u: Map, rng: Rng) -> Map:
    """Inverse depth → metres as a source gives it: stereo's soft 8-bit map, a clean or a noisy sensor."""
    rows, columns = u.shape
    kind = rng.random()
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
