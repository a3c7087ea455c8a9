"""The CDA nodes that checks run: points of a grid, and covering arrays, in which every pair of values occurs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.numbers import encode

ALPHA = 0.6  # of every case: the kernels' code does not depend on it


@dataclass(frozen=True)
class Case:
    """One point of the grid. ``dtype``: fp16, bf16 or fp32."""

    tokens: int
    head_dim: int
    heads: int
    batch: int = 1
    iterations: int = 1
    init: str = "identity"
    value_pairing: str = "released"
    dtype: str = "fp16"

    @property
    def attributes(self) -> CdaAttributes:
        """The node's attributes: this point's, with the one ALPHA of all cases."""
        return CdaAttributes(self.heads, ALPHA, self.iterations, self.init, self.value_pairing)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, N, 3C) of qkv_r and qkv_d."""
        return self.batch, self.tokens, 3 * self.heads * self.head_dim

    def inputs(self, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        """Seeded qkv_r and qkv_d, in the type's stored form."""
        generator = np.random.default_rng(seed)
        qkv_r, qkv_d = (encode(generator.standard_normal(self.shape), self.dtype) for _ in range(2))
        return qkv_r, qkv_d

    def work(self) -> int:
        """Estimated cost of a run with its reference, in tiles of 32 × 32 scores; a program's start counts as four."""
        blocks = -(-self.tokens // 32)
        launches = 2 * self.iterations + (self.init == "cross")
        return 2 * launches * blocks * (4 + blocks) * self.batch * self.heads

    def __str__(self) -> str:
        return (
            f"B{self.batch}-N{self.tokens}-H{self.heads}-D{self.head_dim}-T{self.iterations}-{self.init}-"
            f"{self.value_pairing}-{self.dtype}"
        )


def grid(axes: Mapping[str, Sequence[object]]) -> list[Case]:
    """Every combination of the values of ``axes``, whose keys are fields of :class:`Case`."""
    return [Case(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]  # type: ignore[arg-type]


class Costly(Protocol):
    """A frozen dataclass: one point of a grid."""

    def work(self) -> int:
        """Cost of a run, comparable within one grid only."""


AnyCase = TypeVar("AnyCase", bound=Costly)


def _pairs(case: Costly) -> set[tuple[str, object, str, object]]:
    values = [(field.name, getattr(case, field.name)) for field in fields(case)]  # type: ignore[arg-type]
    return {(*a, *b) for a, b in itertools.combinations(values, 2)}


def covering(cases: list[AnyCase]) -> list[AnyCase]:
    """A cheap subset that still holds every pair of values that occurs in ``cases`` (greedy, seeded)."""
    generator = random.Random(0)
    missing = set().union(*map(_pairs, cases))
    chosen: list[AnyCase] = []
    while missing:
        sample = generator.sample(cases, min(200, len(cases)))
        # New pairs per cost; the constant keeps the cheapest cases from winning with a single pair.
        best = max(sample, key=lambda c: len(_pairs(c) & missing) / (300 + c.work()))
        if not _pairs(best) & missing:  # nobody in the sample helps: take a case that surely does
            wanted = min(missing, key=repr)
            best = next(c for c in cases if wanted in _pairs(c))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen
