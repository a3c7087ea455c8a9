"""How much work each check does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mutualformer.export.checks.rig.cases import Case, covering, grid
from mutualformer.plugins.attributes import INITS, VALUE_PAIRINGS


@dataclass(frozen=True)
class Amount:
    """``tokens`` … ``batches``: axes of the covering array, whose cases cost at most ``limit`` (:meth:`Case.work`).

    ``usual``: tokens of the checks that run one shape. ``repeats``: runs of one case; ``replays``: of a captured graph;
    ``rounds``: of the concurrency check and of a timing. ``timed``: the shapes that are timed, with ``per_graph``
    enqueues in one CUDA graph."""

    tokens: tuple[int, ...]
    head_dims: tuple[int, ...]
    heads: tuple[int, ...]
    batches: tuple[int, ...]
    limit: float
    usual: int
    repeats: int
    replays: int
    rounds: int
    per_graph: int
    timed: tuple[Case, ...]

    def cases(self, dtypes: Sequence[str], unit: int = 1) -> list[Case]:
        """The covering array for ``dtypes`` and the head_dims that are multiples of ``unit``."""
        axes: dict[str, Sequence[object]] = {
            "tokens": self.tokens,
            "head_dim": tuple(d for d in self.head_dims if d % unit == 0),
            "heads": self.heads,
            "batch": self.batches,
            "iterations": (1, 3),
            "init": INITS,
            "value_pairing": VALUE_PAIRINGS,
            "dtype": tuple(dtypes),
        }
        return covering([case for case in grid(axes) if case.work() <= self.limit])


_MODELS = (
    *(Case(tokens, 16, 4) for tokens in (100, 400)),  # sod-lite at 320², strides 32 and 16
    *(Case(tokens, 32, 2) for tokens in (100, 400)),  # sod-nano
    Case(257, 64, 12),  # reid-vit-b16
)

GPU = Amount(
    tokens=(1, 17, 100, 257, 400, 577, 1024),
    head_dims=(4, 8, 16, 24, 32, 64, 100, 128),
    heads=(1, 3, 8, 12),
    batches=(1, 2, 8),
    limit=500_000,  # a few seconds of the float64 reference on one core
    usual=400,
    repeats=2,
    replays=1000,
    rounds=30,
    per_graph=50,
    timed=(*_MODELS, Case(1024, 64, 8)),
)
