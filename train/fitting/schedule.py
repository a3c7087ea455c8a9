"""Learning rate and picture size of a run from its step, or from the clock when the time budget binds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from mutualformer.train.fitting.recipes import Recipe

# Share of the budget that a run may lag behind its plan before the clock takes over: starting up takes time too.
SLACK = 0.05


class Schedule:
    """Maps an optimiser step to the run's progress in [0, 1], and that to learning rate and picture side.

    ``side``: of the pictures where the recipe has no stages. ``elapsed``: seconds since the run began, or was resumed
    at step ``start``; replaced in tests. As long as the run keeps up with ``recipe.minutes``, progress is step / steps
    and nothing depends on the clock. The cost of a step is taken as proportional to its pixels, so a run does not count
    as late because its large pictures come last.
    """

    def __init__(self, recipe: Recipe, side: int, elapsed: Callable[[], float] | None = None, start: int = 0) -> None:
        began = time.time()
        self.recipe = recipe
        self.stages = recipe.stages or ((0.0, side),)
        self.elapsed = elapsed or (lambda: time.time() - began)
        if self.stages[0][0] != 0.0 or any(a[0] >= b[0] for a, b in zip(self.stages, self.stages[1:], strict=False)):
            raise ValueError(f"recipe {recipe.name}: stages are {self.stages}, expected rising shares from 0.0")
        if any(side % 32 for stage in self.stages for side in stage[1:]):
            raise ValueError(f"recipe {recipe.name}: stages are {self.stages}, expected sides in multiples of 32")
        # Knots of the piecewise linear map from progress to the share of the work done, both in [0, 1].
        self.ends = [*[stage[0] for stage in self.stages], 1.0]
        pixels = [stage[1] * stage[-1] for stage in self.stages]
        work = np.cumsum([0.0, *(np.diff(self.ends) * pixels)])
        self.work = work / work[-1]
        self.done = self._work_at(min(start / recipe.steps, 1.0))

    def _work_at(self, progress: float) -> float:
        return float(np.interp(progress, self.ends, self.work))

    def progress(self, step: int) -> float:
        """Progress when ``step`` optimiser steps are done; 1 = finished."""
        planned = min(step / self.recipe.steps, 1.0)
        if not self.recipe.minutes:
            return planned
        clock = (self.elapsed() / (60 * self.recipe.minutes) - SLACK) / (1 - SLACK)
        due = self.done + (1 - self.done) * clock
        if due <= self._work_at(planned):
            return planned
        return max(planned, float(np.interp(due, self.work, self.ends)))

    def side(self, progress: float, step: int = 0) -> int:
        """Side in pixels of the training pictures, a multiple of 32; drawn by ``step`` where a stage has two."""
        _, low, *high = [stage for stage in self.stages if progress >= stage[0]][-1]
        if not high:
            return low
        return int(np.random.default_rng([8, step]).integers(low // 32, high[0] // 32 + 1)) * 32  # alike everywhere

    def rate(self, progress: float) -> float:
        """Factor on the learning rate: linear warm-up, the plateau, then half a cosine down to ``final``."""
        warmup, plateau, final = self.recipe.warmup, self.recipe.plateau, self.recipe.final
        if progress < warmup:
            return max(progress / warmup, 0.02)
        turn = (progress - warmup - plateau) / max(1 - warmup - plateau, 1e-9)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(max(turn, 0.0), 1.0)))
