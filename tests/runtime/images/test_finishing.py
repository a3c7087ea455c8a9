"""The finished alpha: nothing faint, no specks, an edge where the colours have theirs, at any size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutualformer.runtime.images.finishing import LEAN, clean, finish, foreground
from mutualformer.runtime.preprocess import restore

RED, BLUE = (200, 30, 30), (30, 60, 200)


def disc(shape: tuple[int, int], radius: float, at: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """A disc as a boolean mask; ``radius`` as a share of the height."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - at[0] * shape[0], columns - at[1] * shape[1]) < radius * shape[0]


def scene(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on blue, and its mask."""
    mask = disc(shape, 0.25)
    noise = np.random.default_rng(0).normal(0, 4, (*shape, 3))
    return np.clip(np.where(mask[..., None], RED, BLUE) + noise, 0, 255).astype(np.uint8), mask


def blurred(mask: np.ndarray, sigma: float) -> np.ndarray:
    """A map as a network gives it: soft everywhere."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma))


def ramp(alpha: np.ndarray) -> float:
    """Pixels from 10 to 90 %, across the outline, on average."""
    lines, _ = cv2.findContours((alpha > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return ((alpha > 25) & (alpha < 230)).sum() / sum(len(line) for line in lines)


def test_specks_go_and_holes_are_filled_but_a_second_object_stays() -> None:
    saliency = np.zeros((100, 150), np.float32)
    saliency[20:60, 20:60] = 0.9
    saliency[38:42, 38:42] = 0.1  # a hole
    saliency[20:40, 100:120] = 0.8  # another object
    saliency[90:92, 140:142] = 0.9  # a speck
    saliency[70:95, 5:40] = 0.35  # a faint region that belongs to nothing
    cleaned = clean(saliency)
    assert (cleaned[20:60, 20:60] > 0.5).all()
    assert (cleaned[20:40, 100:120] > 0.5).all()
    assert not cleaned[70:].any()


def test_a_large_hole_is_no_mistake() -> None:
    saliency = np.zeros((100, 100), np.float32)
    saliency[10:90, 10:90] = 1
    saliency[30:70, 30:70] = 0
    assert not clean(saliency)[30:70, 30:70].any()


def test_a_soft_map_becomes_a_crisp_object() -> None:
    rgb, truth = scene((240, 320))
    saliency = np.asarray(blurred(truth, 6) * 0.95, np.float32)
    alpha = finish(saliency, rgb)
    before = np.abs(restore(saliency, truth.shape) - truth).mean()
    assert np.abs(alpha / 255 - truth).mean() < 0.25 * before
    assert (alpha[truth] > 230).mean() > 0.97
    assert (alpha[~truth] < 25).mean() > 0.99


def test_the_edge_follows_the_colours_and_not_the_map() -> None:
    rgb, truth = scene((240, 320))
    shifted = np.roll(truth, 4, axis=1)
    alpha = finish(blurred(shifted, 6), rgb)
    wrong = (alpha > 127) != truth
    assert wrong.sum() < 0.5 * (shifted != truth).sum()


def test_without_any_contrast_the_map_decides() -> None:
    truth = disc((240, 320), 0.25)
    alpha = finish(blurred(truth, 6), np.full((240, 320, 3), 90, np.uint8))
    assert ((alpha > 127) != truth).mean() < 0.01, "LEAN moves it inwards by a pixel or two"


@pytest.mark.parametrize("shape", [(1500, 2250), (3000, 4500)])
def test_a_large_picture_has_an_edge_of_a_few_pixels(shape: tuple[int, int]) -> None:
    rgb, truth = scene(shape)
    small = cv2.resize(truth.astype(np.float32), (320, 320), interpolation=cv2.INTER_AREA)
    saliency = blurred(small, 2)
    raw = (restore(saliency, shape) * 255).astype(np.uint8)
    alpha = finish(saliency, rgb)
    assert ramp(raw) > 20
    assert ramp(alpha) < 8
    assert ((alpha > 127) != truth).mean() < 0.002


def test_the_threshold_moves_the_edge() -> None:
    rgb = np.full((64, 64, 3), 90, np.uint8)
    saliency = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    for threshold in (0.2, 0.5, 0.8):
        edge = int((finish(saliency, rgb, threshold)[32] > 127).argmax())
        assert abs(edge - 64 * (threshold + LEAN * (1 - threshold))) <= 2


def test_no_old_background_shines_through_the_edge() -> None:
    truth = disc((240, 320), 0.25)
    alpha = np.asarray(cv2.GaussianBlur(truth.astype(np.uint8) * np.uint8(255), (0, 0), 2), np.uint8)
    share = alpha[..., None] / 255
    rgb = (np.array(RED) * share + np.array(BLUE) * (1 - share)).round().astype(np.uint8)
    band = (alpha > 40) & (alpha < 230)
    own = foreground(rgb, alpha)
    assert np.abs(rgb[band].astype(int) - RED).mean() > 40
    assert np.abs(own[band].astype(int) - RED).mean() < 8
    assert np.array_equal(own[alpha == 255], rgb[alpha == 255])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_any_map_for_any_picture(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    alpha = finish(rng.random((rows, columns), np.float32), rgb, float(rng.random() * 0.99))
    assert alpha.shape == (height, width)
    assert alpha.dtype == np.uint8
    assert foreground(rgb, alpha).shape == rgb.shape


def test_an_empty_map_stays_empty() -> None:
    assert not finish(np.full((20, 30), 0.4, np.float32), np.zeros((50, 70, 3), np.uint8)).any()
