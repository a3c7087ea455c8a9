"""Training batches as a function of (seed, step): the same after a resume, in any number of processes or workers."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mutualformer.runtime.sources.frame import DataError, Frames, Item
from mutualformer.train.data.augment import augment
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.registry import ModelSpec

T = TypeVar("T")
TRIES = 8  # frames that are tried for one slot before a set counts as unreadable


class BatchSource(Protocol):
    """Makes the samples ``slots`` of optimiser step ``step`` at the given side in pixels, stacked."""

    def __len__(self) -> int: ...

    def make(self, step: int, slots: range, side: int) -> dict[str, np.ndarray[Any, Any]]:
        """Name → array (S, …) for the S ``slots``; the same for the same (step, slot), in whichever process."""


@functools.cache
def leave_out(problem: str) -> None:
    """Log, once per process, which file is left out of training: one bad picture must not end a run of hours."""
    logging.getLogger("mutualformer").warning("%s; it is left out", problem)


def first_readable(make: Callable[[int], T]) -> T:
    """The first of ``make(0)``, ``make(1)``, … that raises no DataError; raises the last attempt's."""
    for attempt in range(TRIES - 1):
        try:
            return make(attempt)
        except DataError as error:
            leave_out(str(error))
    return make(TRIES - 1)


class SodBatches:
    """Random frames in the aspect of the model's input, each augmented with a generator of (seed, step, slot)."""

    def __init__(self, frames: Frames, spec: ModelSpec, recipe: Recipe, seed: int) -> None:
        if not len(frames):
            raise DataError("the training set is empty, expected at least one frame")
        self.frames, self.batch, self.augmentation, self.seed = frames, recipe.batch, recipe.augmentation, seed
        self.aspect = spec.input_size[1] / spec.input_size[0]

    def __len__(self) -> int:
        return len(self.frames)

    def index(self, step: int, slot: int) -> int:
        """Number of the frame for a slot: each frame once per epoch, in an order that depends on the epoch."""
        epoch, place = divmod(step * self.batch + slot, len(self.frames))
        return int(np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.frames))[place])

    def _from(self, first: int, attempt: int) -> Item:
        """The frame ``attempt`` places after ``first``, its substitute where it is corrupt."""
        return self.frames[(first + attempt) % len(self.frames)]

    def make(self, step: int, slots: range, side: int) -> dict[str, np.ndarray[Any, Any]]:
        """``rgb`` uint8 (S, h, w, 3), ``depth`` float32 metres (S, h, w), ``mask`` uint8 (S, h, w).

        h is ``side``, w the nearest multiple of 32 to the model's aspect.
        """
        size = (side, max(32, round(side * self.aspect / 32) * 32))
        samples = []
        for slot in slots:
            item = first_readable(partial(self._from, self.index(step, slot)))
            rng = np.random.default_rng([self.seed, 2, step, slot])
            samples.append(augment(item, size, self.augmentation, rng))
        return {name: np.stack([getattr(item, name) for item in samples]) for name in ("rgb", "depth", "mask")}


class _Stream(IterableDataset[dict[str, torch.Tensor]]):
    """The part of every batch that process ``rank`` of ``world`` takes."""

    def __init__(self, source: BatchSource, schedule: Schedule, start: int, batch: int, rank: int, world: int) -> None:
        self.source, self.schedule, self.start = source, schedule, start
        share, rest = divmod(batch, world)
        if rest or not share:
            raise ValueError(f"batch is {batch}, expected a multiple of {world} processes")
        self.slots = range(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for step in itertools.count(self.start + worker, workers):  # the loader takes from its workers in turn
            side = self.schedule.side(min(self.schedule.progress(step), 1.0), step)
            batch = self.source.make(step, self.slots, side)
            yield {name: torch.from_numpy(value) for name, value in batch.items()}


def loader(
    source: BatchSource,
    schedule: Schedule,
    batch: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 1,
) -> DataLoader[dict[str, torch.Tensor]]:
    """Endless batches from optimiser step ``start``. ``batch``: samples per step over all processes."""
    stream = _Stream(source, schedule, start, batch, rank, world)
    if workers:
        # OpenCV's threads do not survive a fork, and a worker that waits for one waits forever. So end them before the
        # fork: an evaluation or an earlier training in this process may have started them.
        cv2.setNumThreads(1)
    return DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=3 if workers else None)
