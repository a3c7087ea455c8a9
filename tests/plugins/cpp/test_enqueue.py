"""The plugin's enqueue, executed: created as TensorRT creates it, its launches run in Triton's interpreter."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mutualformer.export.checks.rig.cases import covering
from mutualformer.plugins.attributes import INITS, VALUE_PAIRINGS, CdaAttributes
from mutualformer.plugins.harness.harness import Harness
from mutualformer.plugins.kernels.pytorch import SUPPORTED
from mutualformer.plugins.kernels.tiles import tiles_for, variant_for
from tests.plugins.support import assert_two_times, random_qkv
from tests.standins.driver import Driver
from tests.standins.engine import Engine

AXES: dict[str, tuple[object, ...]] = {
    "tokens": (1, 17, 100, 121, 257, 484, 577),
    "head_dim": (4, 8, 16, 32, 64, 128),
    "heads": (1, 3, 8, 12),
    "batch": (1, 2, 3),
    "iterations": (1, 2, 3),
    "init": INITS,
    "value_pairing": VALUE_PAIRINGS,
    "dtype": (torch.float16, torch.float32, torch.bfloat16),
    "tactic": (0, 2, 3),
}
_AFFORDABLE = 300  # the interpreter needs about 3 ms for each tile


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    tokens: int
    head_dim: int
    heads: int
    batch: int
    iterations: int
    init: str
    value_pairing: str
    dtype: torch.dtype
    tactic: int

    @property
    def tactics(self) -> int:
        """How many the builder is offered for this type and head_dim."""
        variant = variant_for("cda_rows", SUPPORTED[self.dtype], self.head_dim)
        return len(tiles_for("cda_rows", 87, variant.dtype, variant.block_d, variant.unit))

    @property
    def attributes(self) -> CdaAttributes:
        return CdaAttributes(self.heads, 0.6, self.iterations, self.init, self.value_pairing)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.batch, self.tokens, 3 * self.heads * self.head_dim

    def work(self) -> int:
        """What a run in the interpreter costs, in tiles of P computed; starting a program counts as four."""
        dtype = SUPPORTED[self.dtype]
        total = 0
        for kernel, launches in (
            ("cda_rows", self.iterations + (self.init == "cross")),
            ("cda_columns", self.iterations),
        ):
            variant = variant_for(kernel, dtype, self.head_dim)
            tile = tiles_for(kernel, 87, dtype, variant.block_d, variant.unit)[max(self.tactic, 1) - 1]
            total += 2 * launches * -(-self.tokens // tile.block_m) * (4 + -(-self.tokens // tile.block_n))
        return total * self.batch * self.heads

    def __str__(self) -> str:
        return (
            f"B{self.batch}-N{self.tokens}-H{self.heads}-D{self.head_dim}-T{self.iterations}-{self.init}-"
            f"{self.value_pairing}-{SUPPORTED[self.dtype]}-tactic{self.tactic}"
        )


def _cases() -> list[Any]:
    """The affordable covering set, and under the marker ``full`` one over cases twenty times as large."""
    everything = [Case(*values) for values in itertools.product(*AXES.values())]  # type: ignore[arg-type]
    everything = [case for case in everything if case.tactic <= case.tactics]
    affordable = covering([c for c in everything if c.work() < _AFFORDABLE])
    large = covering([c for c in everything if c.work() < 20 * _AFFORDABLE])
    return affordable + [pytest.param(case, marks=pytest.mark.full) for case in large if case not in affordable]


@pytest.mark.parametrize("case", _cases(), ids=str)
def test_enqueue_equals_the_reference(case: Case, driver: Driver, harness: Harness) -> None:
    engine = Engine(harness, case.attributes, case.shape, case.dtype, tactic=case.tactic)
    qkv_r, qkv_d = (random_qkv(case.shape, case.dtype, seed) for seed in (1, 2))
    modules, contexts = driver.calls("cuModuleLoadData"), driver.calls("cuCtxGetCurrent")
    assert engine.run(qkv_r, qkv_d) == 0, harness.log() + "".join(driver.errors)
    assert (driver.calls("cuModuleLoadData"), driver.calls("cuCtxGetCurrent")) == (modules, contexts)
    engine.assert_nothing_else_written(qkv_r, qkv_d)
    assert_two_times(engine.result(), qkv_r, qkv_d, case.attributes)
    assert len(driver.launches) == 2 * case.iterations + (case.init == "cross")
    assert {stream for _, _, stream in driver.launches} == {7}
    assert all(name.endswith(f"_t{case.tactic}") == (case.tactic > 1) for name, _, _ in driver.launches)
    engine.close()
