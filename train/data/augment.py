"""Augmentation of one RGB-D frame for training: geometry on all three maps together, appearance on each alone.

A model that saw only synthetic colour must not trust it, so colours are jittered hard and at times taken away: what
is left to learn from is shape, and depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.frame import Item

Rng = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """Strengths in [0, 1] and probabilities; all zero = only resizing."""

    crop: float = 0.45  # largest share of either side cut away
    keep: float = 0.5  # least share of the salient pixels that a crop leaves in the picture
    flip: float = 0.5
    colour: float = 1.0
    grey: float = 0.15
    shuffle: float = 0.25  # of the colour channels
    blur: float = 0.25
    holes: float = 0.3
    drop_rgb: float = 0.06
    drop_depth: float = 0.04


def _window(mask: NDArray[np.uint8], how: Augmentation, rng: Rng) -> tuple[slice, slice]:
    """A crop that keeps enough of the salient pixels; sides are cut independently, so the aspect varies."""
    rows, columns = mask.shape
    whole = slice(0, rows), slice(0, columns)
    if how.crop == 0:
        return whole
    inside = cv2.countNonZero(mask)
    for _ in range(4):
        h, w = (int(n * (1 - how.crop * rng.random())) for n in (rows, columns))
        top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
        window = slice(top, top + h), slice(left, left + w)
        if cv2.countNonZero(mask[window]) >= how.keep * inside:
            return window
    return whole


def _jitter(rgb: NDArray[np.uint8], how: Augmentation, rng: Rng) -> NDArray[np.uint8]:
    if rng.random() < how.drop_rgb:
        return np.full_like(rgb, int(rng.integers(256)))
    if rng.random() < how.shuffle:
        rgb = np.ascontiguousarray(rgb[..., rng.permutation(3)])
    if rng.random() < how.grey:
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if how.colour:
        mix = np.eye(3, 4) * rng.uniform(1 - 0.4 * how.colour, 1 + 0.4 * how.colour)  # contrast
        mix[:, :3] += rng.normal(0, 0.12 * how.colour, (3, 3))  # hue and saturation
        mix[:, 3] = rng.normal(0, 25 * how.colour) + rng.normal(0, 10 * how.colour, 3)  # brightness, white balance
        mix[:, 3] += 128 * (1 - mix[:, :3].sum(1))  # around mid-grey
        rgb = cv2.transform(rgb, mix)
        table = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.35 * how.colour))
        rgb = cv2.LUT(rgb, (table * 255 + 0.5).astype(np.uint8))
    if rng.random() < how.blur:
        rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.4, 1.6)))
    return rgb


def augment(item: Item, size: tuple[int, int], how: Augmentation, rng: Rng) -> Item:
    """``item`` → the same at ``size`` (height, width), augmented. The mask must be there."""
    if item.mask is None:
        raise ValueError(f"{item.name}: has no ground truth, expected a mask to train with")
    window = _window(item.mask, how, rng)
    rgb, depth, mask = item.rgb[window], item.depth[window], item.mask[window]
    target = size[::-1]
    shrinking = rgb.shape[0] * rgb.shape[1] > size[0] * size[1]
    rgb = cv2.resize(rgb, target, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    depth = cv2.resize(depth, target, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(mask, target, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    if rng.random() < how.flip:
        rgb, depth, mask = (np.ascontiguousarray(x[:, ::-1]) for x in (rgb, depth, mask))
    rgb = _jitter(rgb, how, rng)
    if rng.random() < how.holes:
        depth = depth.copy()
        for _ in range(int(rng.integers(1, 5))):
            h, w = (int(n * rng.uniform(0.03, 0.2)) + 1 for n in size)
            top, left = int(rng.integers(size[0] - h + 1)), int(rng.integers(size[1] - w + 1))
            depth[top : top + h, left : left + w] = 0
    if rng.random() < how.drop_depth:
        depth = np.zeros_like(depth)
    return Item(rgb, depth, mask, item.name)
