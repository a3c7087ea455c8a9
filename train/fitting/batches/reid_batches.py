"""ReID batches: P identities × K samples, as the triplet loss needs them; a function of (seed, step)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.preprocess import resize_colour
from mutualformer.runtime.sources.folders.reid_folder import ReidData, ReidItem
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.registry import ModelSpec

PER_IDENTITY = 4
ERASE = 0.5  # probability of random erasing (Zhong et al., 2020)


def _jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    gain, offset = rng.uniform(0.93, 1.07, 3) * rng.uniform(0.75, 1.3), rng.normal(0, 8)  # little: colour identifies
    return np.asarray(cv2.convertScaleAbs(cv2.transform(image, np.diag(gain)), beta=float(offset)), dtype=np.uint8)


def augment(item: ReidItem, size: tuple[int, int], rng: np.random.Generator) -> tuple[NDArray[np.uint8], ...]:
    """Flip, pad-and-crop and erasing together; brightness and colour apart. Returns rgb and nir at ``size``."""
    pair = [resize_colour(image, size) for image in (item.rgb, item.nir)]
    if rng.random() < 0.5:
        pair = [np.ascontiguousarray(image[:, ::-1]) for image in pair]
    pad = max(2, size[0] // 16)
    top, left = rng.integers(0, 2 * pad + 1, 2)
    pair = [
        cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)[top : top + size[0], left : left + size[1]]
        for image in pair
    ]
    pair = [_jitter(np.ascontiguousarray(image), rng) for image in pair]
    if rng.random() < ERASE:
        h, w = (int(n * rng.uniform(0.1, 0.4)) for n in size)
        y, x = int(rng.integers(size[0] - h + 1)), int(rng.integers(size[1] - w + 1))
        for image in pair:
            image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return tuple(pair)


class ReidBatches:
    """Every identity once per round, in an order that depends on the round; its samples from different cameras."""

    def __init__(self, data: ReidData, spec: ModelSpec, recipe: Recipe, seed: int) -> None:
        batch = recipe.batch
        if batch % PER_IDENTITY:
            raise ValueError(f"batch is {batch}, expected a multiple of {PER_IDENTITY} samples per identity")
        self.data, self.batch, self.seed, self.size = data, batch, seed, spec.input_size
        self.labels, self.label_of = np.unique(data.identities, return_inverse=True)
        self.num_classes = len(self.labels)
        if self.num_classes < batch // PER_IDENTITY:
            raise DataError(
                f"{self.num_classes} identities, expected at least {batch // PER_IDENTITY} for batches of {batch}"
            )
        self.members = [np.flatnonzero(self.label_of == label) for label in range(self.num_classes)]

    def __len__(self) -> int:
        return len(self.data)

    def index(self, step: int, slot: int) -> int:
        """Sample of ``slot`` in ``step``: slots 4k … 4k + 3 show one identity."""
        groups = self.batch // PER_IDENTITY
        turn, place = divmod(step * groups + slot // PER_IDENTITY, self.num_classes)
        label = int(np.random.default_rng([self.seed, 3, turn]).permutation(self.num_classes)[place])
        members = self.members[label]
        rng = np.random.default_rng([self.seed, 4, step, slot // PER_IDENTITY])
        order = rng.permutation(len(members))
        cameras = self.data.cameras[members[order]]
        again = np.array([int((cameras[:i] == camera).sum()) for i, camera in enumerate(cameras)])
        order = order[np.argsort(again, kind="stable")]  # a camera's second picture after every camera's first
        return int(members[order[slot % PER_IDENTITY % len(members)]])

    def make(self, step: int, slots: range, side: int) -> dict[str, NDArray[Any]]:
        """As BatchSource.make: ``rgb``, ``nir`` uint8 (S, H, W, 3), ``label`` int64 (S,); ``side`` is unused."""
        indices = [self.index(step, slot) for slot in slots]
        pairs = [
            augment(self.data[index], self.size, np.random.default_rng([self.seed, 5, step, slot]))
            for index, slot in zip(indices, slots, strict=True)
        ]
        rgb, nir = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
        return {"rgb": rgb, "nir": nir, "label": self.label_of[indices].astype(np.int64)}
