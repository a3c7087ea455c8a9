"""The four saliency measures against PySODMetrics, on whatever map and mask there may be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mutualformer.train.evaluation.saliency_scores import saliency_scores

Grey = NDArray[np.uint8]


def agree(grey: Grey, mask: Grey) -> None:
    py_sod_metrics = pytest.importorskip("py_sod_metrics", reason="PySODMetrics is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = [getattr(py_sod_metrics, name)() for name in ("Smeasure", "Fmeasure", "Emeasure", "MAE")]
        for metric in reference:
            metric.step(pred=grey, gt=mask)
    s, f, e, mae = reference
    scores = saliency_scores(grey, mask)
    assert scores.s_measure == pytest.approx(s.sms[0], abs=1e-12)
    assert scores.mae == pytest.approx(mae.maes[0], abs=1e-12)
    np.testing.assert_allclose(scores.f_curve, f.changeable_fms[0], atol=1e-12)
    np.testing.assert_allclose(scores.e_curve, e.changeable_ems[0], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 24), st.integers(3, 24), st.integers(0, 3))
def test_blobs_in_noise(seed: int, height: int, width: int, noise: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    top, left = random.integers(0, height - 1), random.integers(0, width - 1)
    mask[top : max(top + 1, height - 1), left : max(left + 1, width - 1)] = 255  # never the last row and column alone
    grey = np.clip(mask * 0.7 + random.normal(0, 40 * noise, mask.shape) + 30, 0, 255).astype(np.uint8)
    agree(grey, mask)


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("value", [0, 127, 255])
def test_empty_full_and_flat(fill: int, value: int) -> None:
    mask = np.full((9, 7), fill, np.uint8)
    agree(np.full((9, 7), value, np.uint8), mask)
    agree(np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8), mask)


def test_an_object_in_the_last_column_has_a_score() -> None:
    """The reference divides by the area of a part that has none, and says NaN."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:, -1] = 255
    assert saliency_scores(mask, mask).s_measure == pytest.approx(1.0)
    assert 0 < saliency_scores(255 - mask, mask).s_measure + 1e-9 < 1
