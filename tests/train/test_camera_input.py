"""Colour and depth encodings against NumPy, and what happens to holes, flat scenes and other precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mutualformer.train.camera_input import FLAT_INVERSE_DEPTH, IMAGENET_MEAN, IMAGENET_STD, ColourInput, DepthInput


def encode(depth: NDArray[np.float64], near: float = 0.3, far: float = 10.0) -> NDArray[np.float64]:
    """One image, float64."""
    valid = depth > 0
    inverse = 1 / np.clip(depth, near, far)
    mean = inverse[valid].mean()
    deviation = np.sqrt(((inverse[valid] - mean) ** 2).mean() + FLAT_INVERSE_DEPTH**2)
    return np.where(valid, np.clip((inverse - mean) / deviation, -4, 4), 0)


def test_colour() -> None:
    image = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    expected = (image.numpy() / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    actual = ColourInput()(image)
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), holes=st.floats(0, 0.9), height=st.integers(2, 40), width=st.integers(2, 40))
def test_depth_is_standardised_inverse_depth(seed: int, holes: float, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.1, 12, (2, height, width)) * (rng.random((2, height, width)) >= holes)
    depth[:, 0, 0] = 1.0
    actual = DepthInput((0.3, 10.0))(torch.from_numpy(depth.astype(np.float32))).numpy()
    assert actual.shape == (2, 3, height, width)
    for one, want in zip(actual, depth, strict=True):
        np.testing.assert_allclose(one, np.broadcast_to(encode(want), one.shape), atol=2e-4)


def test_holes_are_zero_and_nothing_but_holes_is_not_nan() -> None:
    actual = DepthInput((0.3, 10.0))(torch.zeros(1, 8, 8))
    assert torch.equal(actual, torch.zeros(1, 3, 8, 8))
    depth = torch.full((1, 8, 8), 2.0)
    depth[0, :4] = 0
    depth[0, 7, 7] = 1.0
    assert torch.equal(DepthInput((0.3, 10.0))(depth)[0, :, :4], torch.zeros(3, 4, 8))


def test_a_flat_wall_is_not_blown_up_and_units_of_scale_cancel() -> None:
    wall = 3 + 0.001 * torch.randn(1, 16, 16)
    assert DepthInput((0.3, 10.0))(wall).abs().max() < 0.1
    scene = 1 + torch.rand(1, 16, 16)
    encoder = DepthInput((0.1, 100.0))
    torch.testing.assert_close(encoder(scene), encoder(2 * scene), atol=0.03, rtol=0)


def test_an_image_does_not_depend_on_its_batch() -> None:
    depth = torch.rand(3, 9, 9) * torch.tensor([1.0, 4.0, 9.0]).view(3, 1, 1)
    encoder = DepthInput((0.3, 10.0))
    torch.testing.assert_close(encoder(depth)[1:2], encoder(depth[1:2]))


def test_follows_the_precision_of_its_module() -> None:
    assert DepthInput((0.3, 10.0)).double()(torch.rand(1, 4, 4)).dtype == torch.float64
    assert ColourInput().half()(torch.zeros(1, 4, 4, 3, dtype=torch.uint8)).dtype == torch.float16


@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0)])
def test_refuses_an_impossible_range(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="0 < near < far"):
        DepthInput(limits)
