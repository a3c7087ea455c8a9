"""Depthwise convolutions whose channels are summed become dense ones, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from mutualformer.export.graph.folds.channel_sums import fold_channel_sums
from mutualformer.export.graph.folds.wiring import Wiring
from tests.export.graph.folds.graphs import finished, model, operators, run

RNG = np.random.default_rng(3)
CONSTANTS = {
    "w": RNG.normal(size=(4, 1, 3, 3)).astype(np.float32),
    "channels": np.array([1]),
    "rows": np.array([2]),
    "bias": np.array([0.5], np.float32),
}
X = RNG.normal(size=(2, 4, 5, 6)).astype(np.float32)


def head(axes: str = "channels", group: int = 4, keep: int = 0) -> str:
    shape = {("channels", 0): "2, 5, 6", ("channels", 1): "2, 1, 5, 6", ("rows", 0): "2, 4, 6"}[axes, keep]
    return f"""head (float[2, 4, 5, 6] x) => (float[{shape}] y) {{
        maps = Conv <group: int = {group}, pads = [1, 1, 1, 1]> (x, w)
        total = ReduceSum <keepdims: int = {keep}> (maps, {axes})
        y = Add (total, bias)
    }}"""


def test_the_sum_becomes_part_of_the_convolution() -> None:
    before = model(head(), CONSTANTS)
    wiring = Wiring(before)
    assert fold_channel_sums(wiring) == 1
    after = finished(wiring)
    assert operators(after) == ["Conv", "Squeeze", "Add"]
    np.testing.assert_allclose(run(after, x=X), run(before, x=X), atol=1e-5)


@pytest.mark.parametrize("text", [head(axes="rows"), head(keep=1)])
def test_other_sums_stay(text: str) -> None:
    assert fold_channel_sums(Wiring(model(text, CONSTANTS))) == 0
