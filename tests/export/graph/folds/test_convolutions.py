"""A linear convolution before a pointwise one: one convolution of the same values, where that pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mutualformer.export.graph.folds.convolutions import fold_convolutions
from mutualformer.export.graph.folds.wiring import Wiring
from tests.export.graph.folds.graphs import FOLDING, WEAK, finished, model, operators, run

PAIR = """pair ({kind}[B, {inner}, 13, 11] x) => ({kind}[B, 5, {height}, {width}] y) {{
    [first] a = Conv <group = {groups}, strides = [{stride}, {stride}], pads = [{pads}]> (x, w1 {bias1})
    [second] y = Conv (a, w2, b2)
}}"""


def pair(random: np.random.Generator, kind: str = "double", **changes: int) -> Any:
    groups = changes.get("groups", int(random.choice([1, 2, 6])))
    size, stride = int(random.choice([1, 3, 5])), int(random.choice([1, 2]))
    padding, biased, dtype = size // 2, bool(random.integers(2)), {"double": np.float64, "float16": np.float16}[kind]
    text = PAIR.format(
        kind=kind, inner=6, groups=groups, stride=stride, pads=", ".join([str(padding)] * 4),
        bias1=", b1" if biased else "", height=-(-13 // stride), width=-(-11 // stride),
    )  # fmt: skip
    shapes = {"w1": (6, 6 // groups, size, size), "b1": (6,), "w2": (5, 6, 1, 1), "b2": (5,)}
    values = {n: random.normal(size=s).astype(dtype) for n, s in shapes.items() if n != "b1" or biased}
    return model(text, values)


@pytest.mark.parametrize("seed", range(12))
def test_pair_is_one_convolution_of_the_same_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    graph = pair(random)
    wiring = Wiring(graph)
    assert fold_convolutions(wiring, FOLDING) == 1
    folded = finished(wiring)
    assert operators(folded) == ["Conv"]
    assert folded.graph.node[0].name == "second"
    x = random.normal(size=(2, 6, 13, 11))
    np.testing.assert_allclose(run(folded, x=x), run(graph, x=x), atol=1e-12)


def test_denser_arithmetic_that_does_not_pay_is_left_alone() -> None:
    wiring = Wiring(pair(np.random.default_rng(0), groups=6))
    assert fold_convolutions(wiring, WEAK) == 0
    assert operators(wiring.finished()) == ["Conv", "Conv"]


def test_half_precision_keeps_biases_apart_that_it_cannot_hold() -> None:
    graph = pair(np.random.default_rng(0), "float16", groups=1)
    assert fold_convolutions(Wiring(graph), FOLDING) == 1
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name == "b2")
    bias.raw_data = (np.ones(5, np.float16) * 40).tobytes()
    assert fold_convolutions(Wiring(graph), FOLDING) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[r] c = Relu (a)\n [second] y = Conv (c, w2)",  # something between
        "[second] c = Conv (a, w2)\n [s] y = Add (c, a)",  # read twice
        "[second] y = Conv <pads = [1, 1, 1, 1]> (a, w2)",  # the edge reads zeros, not what the first makes of them
        "[second] y = Conv <group = 6> (a, w6)",
        "[second] y = Conv (a, w3)",
    ],
)
def test_anything_else_is_left_alone(text: str) -> None:
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(size=(6, 1, 3, 3)), "w2": random.normal(size=(6, 6, 1, 1)),
        "w3": random.normal(size=(6, 6, 3, 3)), "w6": random.normal(size=(6, 1, 1, 1)),
    }  # fmt: skip
    used = {name: value for name, value in weights.items() if f"{name})" in text or name == "w1"}
    head = "other (double[B, 6, 9, 9] x) => (double[B, 6, H, W] y) {\n [first] a = Conv <group = 6, pads = [1,1,1,1]>"
    wiring = Wiring(model(f"{head} (x, w1)\n {text}\n}}", used))
    assert fold_convolutions(wiring, FOLDING) == 0
