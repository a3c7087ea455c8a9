"""Training batches of things: every step sees other objects, each in VIEWS views; a function of (seed, step)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.photographs.photographs import Photographs
from lab.things.views import Thing, thing, view
from mutualformer.train.fitting.batches.sod_batches import first_readable
from mutualformer.train.fitting.recipes import Recipe

VIEWS = 2  # of an object in a batch: more objects teach more than more views of them
# Shares of the views that lack one modality, so that a missing sensor does not spoil the other.
NO_NIR, NO_COLOUR = 0.12, 0.06


class ThingBatches:
    """A BatchSource: ``rgb``, ``nir`` uint8 (S, side, side, 3), ``label`` int64 (S,), the photograph's number."""

    def __init__(self, photographs: Photographs, recipe: Recipe, seed: int) -> None:
        if recipe.batch % VIEWS:
            raise ValueError(f"batch is {recipe.batch}, expected a multiple of {VIEWS} views")
        self.photographs, self.batch, self.seed = photographs, recipe.batch, seed

    def __len__(self) -> int:
        return len(self.photographs)

    def index(self, step: int, place: int) -> int:
        """Photograph at ``place`` of ``step``: every one once per epoch, in an order that depends on the epoch."""
        epoch, at = divmod(step * (self.batch // VIEWS) + place, len(self.photographs))
        return int(np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.photographs))[at])

    def _thing(self, index: int, attempt: int) -> tuple[int, Thing]:
        index = (index + attempt) % len(self.photographs)
        return index, thing(self.photographs[index], np.random.default_rng([self.seed, 2, index]))

    def make(self, step: int, slots: range, side: int) -> dict[str, NDArray[Any]]:
        """As BatchSource.make; what stands before or behind a thing are the other things of ``slots``."""
        places = sorted({slot // VIEWS for slot in slots})
        found = {at: first_readable(partial(self._thing, self.index(step, at))) for at in places}
        pairs, labels = [], []
        for slot in slots:
            place = slot // VIEWS
            rng = np.random.default_rng([self.seed, 3, step, slot])
            others = [one for at, (_, one) in found.items() if at != place]
            rgb, nir = view(found[place][1], others, side, rng)
            draw = rng.random()
            if draw < NO_NIR:
                nir = np.full_like(nir, int(rng.choice((0, 0, 128, 255))))
            elif draw < NO_NIR + NO_COLOUR:
                rgb = np.full_like(rgb, int(rng.choice((0, 0, 128, 255))))
            pairs.append((rgb, nir))
            labels.append(found[place][0])
        rgb, nir = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
        return {"rgb": rgb, "nir": nir, "label": np.array(labels, np.int64)}
