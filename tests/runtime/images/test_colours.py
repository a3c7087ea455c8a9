"""The one depth palette: near warm, far cold, holes black, steps in inverse distance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.images.colours import PALETTE, depth_colours, depth_range


def test_ends_and_holes() -> None:
    depth = np.array([[0.5, 1.0, 4.0, 0.0, 9.0, 0.1]], np.float32)
    colours = depth_colours(depth, (0.5, 4.0))
    assert np.array_equal(colours[0, 0], PALETTE[255])
    assert np.array_equal(colours[0, 2], PALETTE[0])
    assert np.array_equal(colours[0, 3], (0, 0, 0))
    assert np.array_equal(colours[0, 4], PALETTE[0]), "farther than the range: the coldest"
    assert np.array_equal(colours[0, 5], PALETTE[255])
    # 1 m lies at (1/1 - 1/4) / (1/0.5 - 1/4) of the way.
    assert np.array_equal(colours[0, 1], PALETTE[round(255 * 0.75 / 1.75)])


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_any_map_gives_a_picture_of_its_size(height: int, width: int, holes: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.2, 10, (height, width)).astype(np.float32)
    depth[rng.random((height, width)) < holes] = 0
    colours = depth_colours(depth)
    assert colours.shape == (height, width, 3)
    assert colours.dtype == np.uint8
    assert not colours[depth == 0].any()
    limits = depth_range(depth)
    assert (limits is None) == (not depth.any())
