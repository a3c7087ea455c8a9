"""Differences of two models on the same frames: how sure is their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS, LEVEL, SEED = 4000, 0.95, 5
LEAST = 0.001  # of a difference in a metric of [0, 1]: what is smaller matters to nobody


@dataclass(frozen=True)
class Paired:
    """``mean`` over seeds and frames; ``low``, ``high``: its 95 % interval over frames; ``by_seed``: mean of each seed.

    The interval knows how much frames differ and not how much trainings do: that is ``by_seed``.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    def sign(self) -> int:
        """±1 where the mean is LEAST at least, the interval leaves 0 out and all seeds agree; else 0."""
        for sign in (1, -1):
            if sign * self.mean >= LEAST and min(sign * value for value in (self.low, self.high, *self.by_seed)) > 0:
                return sign
        return 0

    def as_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "by_seed": list(self.by_seed)}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Paired:
        """From :meth:`as_dict`."""
        return cls(kept["mean"], kept["low"], kept["high"], tuple(kept["by_seed"]))


def paired(differences: NDArray[Any]) -> Paired:
    """``differences`` (seeds, frames), each of one frame and one seed: percentile bootstrap over frames, seeded.

    A frame is drawn with all its seeds: they show the same picture. Raises ValueError without a frame.
    """
    if differences.ndim != 2 or not differences.size:
        raise ValueError(f"differences are {differences.shape}, expected (seeds, frames), at least one of each")
    frames = differences.mean(axis=0)
    draws = np.random.default_rng(SEED).integers(len(frames), size=(DRAWS, len(frames)))
    low, high = np.quantile(frames[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Paired(float(frames.mean()), float(low), float(high), tuple(map(float, differences.mean(axis=1))))
