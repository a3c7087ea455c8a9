"""Data with one modality corrupted, to measure how much a model uses each: ``depth=shuffle``, ``rgb=zero``, …

zero      no signal: colour and NIR mid-grey, depth all holes
shuffle   each frame gets that modality of another frame (ReID: of another identity): a camera that froze
holes     43 % of the depth measurements gone, in patches
unit      depth a thousand times too large: millimetres taken for metres
grey      colour without colour
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.folders.reid_folder import ReidData, ReidItem
from mutualformer.runtime.sources.frame import DataError, Frames, Item

MID_GREY = 128
HOLES_SHARE, HOLES_CELLS = 0.43, 20  # of the pixels; patches across the picture


def parse(text: str) -> dict[str, str]:
    """``depth=shuffle,rgb=zero`` → {"depth": "shuffle", "rgb": "zero"}. The ways: shuffle, zero; for colour also grey,
    for depth also holes and unit."""
    return dict(pair.split("=") for pair in text.split(","))


def _others(identities: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """For every sample one of another identity, at random; every sample is taken once. A frame is its own identity.

    Samples of one identity must not all get theirs from one other: that would rename identities and corrupt nothing.
    """
    count = len(identities)
    largest = int(np.unique(identities, return_counts=True)[1].max())
    if 2 * largest > count:
        raise DataError(f"nothing to shuffle: {largest} of {count} samples are of one kind, expected at most half")
    rng = np.random.default_rng([seed, 6])
    other = rng.permutation(count)
    while len(clashes := np.flatnonzero(identities[other] == identities)):
        i, j = int(clashes[0]), int(rng.integers(count))  # swap with a partner that suits both
        if identities[other[j]] != identities[i] and identities[other[i]] != identities[j]:
            other[[i, j]] = other[[j, i]]
    return other


def holed(depth: NDArray[Any], seed: int) -> NDArray[Any]:
    """``depth`` (H, W) with patches of holes, HOLES_SHARE of all pixels."""
    field = np.random.default_rng([seed, 7]).random((HOLES_CELLS, HOLES_CELLS), dtype=np.float32)
    field = cv2.resize(field, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.where(field < np.quantile(field, HOLES_SHARE), np.zeros_like(depth), depth)


class CorruptFrames:
    """RGB-D frames with the modalities of ``how`` corrupted; masks and names stay."""

    def __init__(self, frames: Frames, how: Mapping[str, str], seed: int = 0) -> None:
        self.frames, self.how = frames, dict(how)
        self.other = _others(np.arange(len(frames)), seed) if "shuffle" in self.how.values() else None

    @property
    def has_depth(self) -> bool:
        """False also where depth is what was zeroed."""
        return self.frames.has_depth and self.how.get("depth") != "zero"

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Item:
        item = self.frames[index]
        other = self.frames[int(self.other[index])] if self.other is not None else None
        return item._replace(**spoilt(item, self.how, other, index))


def spoilt(item: Any, how: Mapping[str, str], other: Any, seed: int) -> dict[str, Any]:
    """Modality → corrupted picture of ``item``; ``other``: the item that shuffling takes it from."""
    changed: dict[str, Any] = {}
    for modality, way in how.items():
        ours = getattr(item, modality)
        if way == "shuffle":  # frames may differ in size
            theirs = getattr(other, modality)
            changed[modality] = cv2.resize(theirs, ours.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        elif way == "holes":
            changed[modality] = holed(ours, seed)
        elif way == "unit":
            changed[modality] = ours * np.float32(1000)
        elif way == "grey":
            changed[modality] = cv2.cvtColor(cv2.cvtColor(ours, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        else:
            changed[modality] = np.full_like(ours, 0 if modality == "depth" else MID_GREY)
    return changed


def corrupt_reid(data: ReidData, how: Mapping[str, str], seed: int = 0) -> ReidData:
    """ReID data with the modalities of ``how`` corrupted; labels stay."""
    other = _others(data.identities, seed) if "shuffle" in how.values() else None

    def sample(index: int) -> ReidItem:
        item: ReidItem = data[index]
        return item._replace(**spoilt(item, how, data[int(other[index])] if other is not None else None, index))

    return dataclasses.replace(data, samples=sample)
