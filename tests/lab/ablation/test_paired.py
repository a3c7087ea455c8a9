"""Paired differences: their mean, their interval over frames, and when they tell anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lab.ablation.paired import LEAST, Paired, paired

VALUES = st.floats(-1, 1, allow_subnormal=False)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 30))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, SHAPES, elements=VALUES))
def test_the_interval_holds_the_mean_and_turns_with_the_sign(differences: NDArray[np.float64]) -> None:
    one, turned = paired(differences), paired(-differences)
    assert one.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert one.low <= one.high
    assert differences.mean(axis=0).min() - 1e-12 <= one.low
    assert differences.mean(axis=0).max() + 1e-12 >= one.high
    assert one.by_seed == pytest.approx(differences.mean(axis=1).tolist(), abs=1e-12)
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low), abs=1e-12)
    assert turned.sign() == -one.sign()
    assert Paired.of(one.as_dict()) == one


def test_the_interval_covers_what_it_claims() -> None:
    """Of 300 sets of 40 frames with a true difference of 0.05 about 95 % cover it."""
    rng = np.random.default_rng(1)
    intervals = [paired(rng.normal(0.05, 0.2, (1, 40))) for _ in range(300)]
    covered = sum(one.low <= 0.05 <= one.high for one in intervals) / len(intervals)
    assert 0.90 <= covered <= 0.98


def test_seeds_that_disagree_tell_nothing() -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(0, 0.01, 100)
    assert paired(np.stack([frames + 0.05, frames + 0.04])).sign() == 1
    assert paired(np.stack([frames + 0.15, frames - 0.01])).sign() == 0
    assert paired(np.full((2, 50), LEAST / 2)).sign() == 0  # certain, and nothing
    with pytest.raises(ValueError, match="expected \\(seeds, frames\\)"):
        paired(np.zeros((2, 0)))
