"""How much each check does: everything on a GPU, a little of everything in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mutualformer.export.checks.rig.cases import Case, covering, grid
from mutualformer.plugins.attributes import INITS, VALUE_PAIRINGS


@dataclass(frozen=True)
class Amount:
    """``tokens`` … ``batches``: axes of the covering array, of cases that cost at most ``limit``. ``repeats``: runs of
    one case. ``replays`` of a captured graph; ``rounds`` of the concurrency check and of a timing; ``opens`` of a
    session; ``timed``: the shapes that are timed; ``per_graph``: enqueues in one timed graph."""

    tokens: tuple[int, ...]
    head_dims: tuple[int, ...]
    heads: tuple[int, ...]
    batches: tuple[int, ...]
    limit: float
    repeats: int
    replays: int
    rounds: int
    opens: int
    per_graph: int
    timed: tuple[Case, ...]
    stream_minutes: float

    def cases(self, dtypes: Sequence[str]) -> list[Case]:
        """The covering array for the types the plugin has kernels for."""
        axes: dict[str, Sequence[object]] = {
            "tokens": self.tokens,
            "head_dim": self.head_dims,
            "heads": self.heads,
            "batch": self.batches,
            "iterations": (1, 3),
            "init": INITS,
            "value_pairing": VALUE_PAIRINGS,
            "dtype": tuple(dtypes),
        }
        return covering([case for case in grid(axes) if case.work() <= self.limit])


_MODELS = (Case(100, 8, 8), Case(400, 8, 8), Case(257, 64, 12))  # sod at 320², strides 32 and 16; reid-vit-b16

GPU = Amount(
    tokens=(1, 17, 100, 257, 400, 577, 1024),
    head_dims=(4, 8, 16, 24, 32, 64, 100, 128),
    heads=(1, 3, 8, 12),
    batches=(1, 2, 8),
    limit=float("inf"),
    repeats=2,
    replays=1000,
    rounds=30,
    opens=20,
    per_graph=50,
    timed=(*_MODELS, Case(1024, 64, 8)),
    stream_minutes=10.0,
)

EMULATED = Amount(
    tokens=(1, 17, 45),
    head_dims=(4, 16, 32),
    heads=(1, 2),
    batches=(1, 2),
    limit=200,
    repeats=2,
    replays=3,
    rounds=2,
    opens=3,
    per_graph=2,
    timed=(Case(17, 16, 1),),
    stream_minutes=0.05,
)
