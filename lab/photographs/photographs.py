"""Photographs with masks and without depth: folders ``RGB/`` and ``GT/`` such as DUTS-TR."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.pairs import pairs
from mutualformer.runtime.sources.frame import DataError, Item
from mutualformer.runtime.sources.masks import read_mask
from mutualformer.runtime.sources.names import MASK_NAMES
from mutualformer.runtime.sources.pictures import read_colour

Rng = np.random.Generator

# An object to paste: most of it in the picture, neither a speck nor the whole picture.
LEAST_SHARE, LARGEST_SHARE = 0.015, 0.55


class Cutout(NamedTuple):
    """``rgb`` uint8 (h, w, 3) and ``alpha`` float32 (h, w) in [0, 1]: one object, cropped to its box."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32]


class Photographs:
    """The frames of ``root``: depth is all 0, "no measurement". Raises DataError."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.names, self.rgb, self.masks = pairs(self.root, "GT", MASK_NAMES)

    has_depth = False

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Item:
        name = self.names[index]
        rgb, mask = read_colour(self.rgb[name]), read_mask(self.masks[name]).pixels
        if mask.shape != rgb.shape[:2]:
            raise DataError(f"{self.masks[name]}: is {mask.shape}, expected {rgb.shape[:2]} as in {self.rgb[name]}")
        return Item(rgb, np.zeros(mask.shape, np.float32), mask, name)

    def files(self, index: int) -> tuple[Path, ...]:
        """The files of frame ``index``: picture and mask."""
        name = self.names[index]
        return self.rgb[name], self.masks[name]

    def outline(self, rng: Rng) -> NDArray[np.uint8]:
        """The mask of a random photograph, cropped to what is salient in it (all of it where nothing is)."""
        mask = read_mask(self.masks[self.names[int(rng.integers(len(self)))]]).pixels
        left, top, width, height = cv2.boundingRect(mask)
        return np.ascontiguousarray(mask[top : top + height, left : left + width]) if width else mask

    def only(self, names: Sequence[str]) -> Photographs:
        """The photographs of these names, no others. Raises DataError for a name that is not here."""
        absent = sorted(set(names) - set(self.names))
        if absent or not names:
            raise DataError(f"{self.root}: has no {absent[0] if absent else 'photograph left'}")
        part = copy.copy(self)
        part.names = list(names)
        return part

    def cutout(self, rng: Rng, tries: int = 8) -> Cutout | None:
        """One whole object of a random photograph, or None when ``tries`` photographs had none fit to paste."""
        for _ in range(tries):
            item = self[int(rng.integers(len(self)))]
            assert item.mask is not None
            count, labels, stats, _ = cv2.connectedComponentsWithStats(item.mask, connectivity=8)
            if count < 2:
                continue
            label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            left, top, width, height, area = (int(n) for n in stats[label])
            rows, columns = item.mask.shape
            sides = (left <= 1) + (top <= 1) + (left + width >= columns - 1) + (top + height >= rows - 1)
            share = area / item.mask.size
            if not LEAST_SHARE <= share <= LARGEST_SHARE or sides > 1 or (sides and rng.random() < 0.7):
                continue
            window = slice(max(top - 2, 0), top + height + 2), slice(max(left - 2, 0), left + width + 2)
            alpha = (labels[window] == label).astype(np.float32)
            # A mask drawn by hand is rather a pixel too wide: the old background must not come along.
            alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (0, 0), 0.8)
            rgb = item.rgb[window]
            if rng.random() < 0.5:
                rgb, alpha = np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])
            return Cutout(rgb, alpha)
        return None
