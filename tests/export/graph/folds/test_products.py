"""Products joined by sums and concatenations become one; halves of one value become a stacked one."""

from __future__ import annotations

import numpy as np
import pytest

from mutualformer.export.graph.folds.halves import fold_halves
from mutualformer.export.graph.folds.products import fold_products
from mutualformer.export.graph.folds.wiring import Wiring
from tests.export.graph.folds.graphs import finished, model, operators, run

# What a MutualFormer block does after its attentions, at C = 4.
BLOCK = """block (double[B, 7, 8] yr, double[B, 7, 8] yd, double[B, 7, 4] s, double[B, 7, 4] x) => (double[B, 7, 4] y) {
    [r1] r0 = MatMul (yr, wr)
    [r2] r = Add (r0, br)
    [d1] d0 = MatMul (yd, wd)
    [d2] d = Add (bd, d0)
    [c] both = Concat <axis = -1> (r, d)
    [p1] p0 = MatMul (both, w)
    [p2] p = Add (p0, b)
    [s1] s0 = MatMul (s, ws)
    [s2] sa = Add (s0, bs)
    [j] joined = Add (sa, p)
    [out] y = Add (x, joined)
}"""
SHAPES = {"wr": (8, 4), "br": (4,), "wd": (8, 4), "bd": (4,), "w": (8, 4), "b": (4,), "ws": (4, 4), "bs": (4,)}


def constants(random: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("seed", range(4))
def test_block_is_one_product_and_its_residual(seed: int) -> None:
    random = np.random.default_rng(seed)
    block = model(BLOCK, constants(random, SHAPES))
    wiring = Wiring(block)
    assert fold_products(wiring) == 1
    folded = finished(wiring)
    assert sorted(operators(folded)) == ["Add", "Add", "Concat", "MatMul"]
    widths = {"yr": 8, "yd": 8, "s": 4, "x": 4}
    inputs = {name: random.normal(size=(3, 7, width)) for name, width in widths.items()}
    np.testing.assert_allclose(run(folded, **inputs), run(block, **inputs), atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        (
            "[out] y = Add (x, joined)",
            "[g] g = Relu (joined)\n [h] h = Add (g, r)\n [out] y = Add (x, h)",
        ),  # r read twice
        ("[p1] p0 = MatMul (both, w)", "[q] q = Relu (both)\n [p1] p0 = MatMul (q, w)"),  # not linear
    ],
)
def test_what_is_read_elsewhere_or_not_linear_keeps_its_value(change: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    block = model(BLOCK.replace(*change), constants(random, SHAPES))
    wiring = Wiring(block)
    fold_products(wiring)
    folded = finished(wiring)
    widths = {"yr": 8, "yd": 8, "s": 4, "x": 4}
    inputs = {name: random.normal(size=(2, 7, width)) for name, width in widths.items()}
    np.testing.assert_allclose(run(folded, **inputs), run(block, **inputs), atol=1e-12)
    assert "Relu" in operators(folded)


def test_weights_that_would_become_more_are_left_alone() -> None:
    """A narrow waist: multiplied out, two thin matrices are one large one."""
    text = """waist (double[B, 5, 8] x, double[B, 5, 8] z) => (double[B, 5, 8] y) {
        [a] a = MatMul (x, w1)
        [b] b = MatMul (a, w2)
        [c] c = MatMul (z, w3)
        [d] d = MatMul (c, w4)
        [out] y = Add (b, d)
    }"""
    shapes: dict[str, tuple[int, ...]] = {"w1": (8, 1), "w2": (1, 8), "w3": (8, 1), "w4": (1, 8)}
    assert fold_products(Wiring(model(text, constants(np.random.default_rng(0), shapes)))) == 0


HALVES = """halves (double[B, 6, 8] x) => (double[B, 6, 12] y) {
    [s] l, r = Split <axis = 2, num_outputs = 2> (x)
    [m1] a = MatMul (l, w1)
    [m2] b = MatMul (r, w2)
    [out] y = Sub (a, b)
}"""


def test_halves_are_one_stacked_product() -> None:
    random = np.random.default_rng(0)
    graph = model(HALVES, constants(random, {"w1": (4, 12), "w2": (4, 12)}))
    wiring = Wiring(graph)
    assert fold_halves(wiring) == 1
    folded = finished(wiring)
    assert operators(folded).count("MatMul") == 1
    assert "Split" not in operators(folded)
    x = random.normal(size=(3, 6, 8))
    np.testing.assert_allclose(run(folded, x=x), run(graph, x=x), atol=1e-12)


def test_halves_that_something_else_reads_stay() -> None:
    text = HALVES.replace("Sub (a, b)", "Sub (a, c)").replace(
        "[out]", "[t] t = Concat <axis = 2> (l, l, l)\n[u] c = Add (b, t)\n[out]"
    )
    graph = model(text, constants(np.random.default_rng(0), {"w1": (4, 12), "w2": (4, 12)}))
    assert fold_halves(Wiring(graph)) == 0
