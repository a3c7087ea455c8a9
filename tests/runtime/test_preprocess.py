"""Resizing and checking of frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import InputError, check, prepare, resize_depth, restore

SOD = Contract("sod", "sod-nano", (32, 48))


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_camera_size_fits(height: int, width: int) -> None:
    inputs = prepare(SOD, np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.float32))
    assert inputs["rgb"].shape == (1, 32, 48, 3)
    assert inputs["depth"].shape == (1, 32, 48)
    for spec in SOD.inputs:
        check(spec, inputs[spec.name])


def test_depth_is_never_averaged_across_an_edge() -> None:
    depth = np.ones((64, 64), np.float32)
    depth[:, 33:] = 5.0
    depth[10:20, 10:20] = 0.0
    assert set(np.unique(resize_depth(depth, (32, 48)))) <= {0.0, 1.0, 5.0}


def test_restore_gives_the_camera_size() -> None:
    assert restore(np.full((32, 48), 0.5, np.float32), (480, 640)).shape == (480, 640)


@pytest.mark.parametrize(
    ("rgb", "depth", "says"),
    [
        (np.zeros((8, 8, 3), np.float32), np.ones((8, 8), np.float32), "expected uint8"),
        (np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32), "expected uint8"),
        (np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint16), "expected float32 metres"),
        (np.zeros((8, 8, 3), np.uint8), np.ones((8, 9), np.float32), "one size for both"),
    ],
)
def test_prepare_refuses(rgb: np.ndarray, depth: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        prepare(SOD, rgb, depth)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -1.0])
def test_check_refuses_poisoned_depth(poison: float) -> None:
    depth = np.ones((1, 32, 48), np.float32)
    depth[0, 3, 4] = poison
    with pytest.raises(InputError, match="expected finite metres"):
        check(SOD.inputs[1], depth)


def test_check_names_the_tensor() -> None:
    with pytest.raises(InputError, match=r"'depth' is float64 \(1, 32, 48\), expected float32 \('B', 32, 48\)"):
        check(SOD.inputs[1], np.ones((1, 32, 48)))
    with pytest.raises(InputError, match="empty batch"):
        check(SOD.inputs[1], np.ones((0, 32, 48), np.float32))
