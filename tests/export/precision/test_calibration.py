"""Histograms count every value once, and the limit is the one with the least squared error."""

from __future__ import annotations

import numpy as np
import pytest

from mutualformer.export.precision.calibration import BINS, LEVELS, Histogram, best_limit, limits

RANDOM = np.random.default_rng(0)
SAMPLES = {
    "normal": RANDOM.normal(0, 1, 200_000),
    "long tail": RANDOM.standard_t(3, 200_000),
    "rectified": np.maximum(RANDOM.normal(-1, 1, 200_000), 0),
    "one outlier": np.append(RANDOM.normal(0, 1, 200_000), 300.0),
    "uniform": RANDOM.uniform(-2, 2, 200_000),
}


def histogram(values: np.ndarray, parts: int = 1) -> Histogram:
    built = Histogram()
    for part in np.array_split(values.astype(np.float32), parts):
        built.add(part)
    return built


def squared_error(values: np.ndarray, limit: float) -> float:
    step = limit / LEVELS
    return float(((values - step * np.clip(np.round(values / step), -LEVELS, LEVELS)) ** 2).mean())


@pytest.mark.parametrize("name", SAMPLES)
def test_growing_in_parts_loses_nothing(name: str) -> None:
    values = np.sort(np.abs(SAMPLES[name]))  # the largest last: the range has to grow on the way
    built = histogram(values, parts=9)
    assert built.counts.sum() == np.count_nonzero(values.astype(np.float32))
    assert built.largest == np.float32(values.max()) <= built.top
    for share in (0.3, 0.9):
        edge = round(share * BINS) * built.top / BINS
        assert abs(int(built.counts[: round(share * BINS)].sum()) - int(((values > 0) & (values < edge)).sum())) <= 4


@pytest.mark.parametrize("name", SAMPLES)
def test_no_other_limit_is_better_on_the_values_themselves(name: str) -> None:
    values, limit = SAMPLES[name], best_limit(histogram(SAMPLES[name]))
    others = np.abs(values).max(), np.percentile(np.abs(values[values != 0]), 99.999)
    assert squared_error(values, limit) <= 1.02 * min(squared_error(values, other) for other in others)


def test_the_limit_of_a_known_distribution() -> None:
    assert best_limit(histogram(SAMPLES["uniform"])) == pytest.approx(2.0, rel=0.02)


def test_a_tensor_that_is_always_zero_has_a_scale() -> None:
    assert limits({"x": histogram(np.zeros(10))}) == {"x": 1.0}
