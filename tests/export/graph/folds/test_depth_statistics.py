"""Depth's mean and deviation by rows: those of ``train/camera_input.py``, and better where a map is flat."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mutualformer.export.graph.folds.depth_statistics import fold_depth_statistics
from mutualformer.export.graph.folds.wiring import Wiring
from tests.export.graph.folds.graphs import finished, model, operators, run

TEXT = """depth ({kind}[B, 24, 40] depth) => ({kind}[B, 24, 40] y) {{
    [n1] g = Greater (depth, zero)
    [n2] valid = Cast <to = {to}> (g)
    [n3] limited = Clip (depth, near, far)
    [n4] inverse = Reciprocal (limited)
    [n5] m1 = ReduceMean (valid, axes)
    [n6] share = Clip (m1, least)
    [n7] p1 = Mul ({product})
    [n8] m2 = ReduceMean (p1, axes)
    [n9] first = Div (m2, share)
    [n10] s1 = Sub (inverse, first)
    [n11] p2 = Mul (valid, s1)
    [n12] m3 = ReduceMean (p2, axes)
    [n13] lost = Div (m3, share)
    [n14] mean = Add (first, lost)
    [n15] s2 = Sub (inverse, mean)
    [n16] centred = Mul (valid, s2)
    [n17] square = Mul (centred, {other})
    [n18] m4 = ReduceMean (square, axes)
    [n19] variance = Div (m4, share)
    [n20] floor = Add (variance, flat)
    [n21] deviation = Sqrt (floor)
    [n22] y = Div (centred, deviation)
}}"""


def graph(kind: str = "double", product: str = "valid, inverse", other: str = "centred") -> onnx.ModelProto:
    dtype = np.float64 if kind == "double" else np.float32
    numbers = {"zero": 0.0, "near": 0.3, "far": 10.0, "least": 1e-6, "flat": 1e-4}
    constants = {name: np.array(value, dtype) for name, value in numbers.items()}
    to = onnx.TensorProto.DOUBLE if kind == "double" else onnx.TensorProto.FLOAT
    return model(
        TEXT.format(kind=kind, to=int(to), product=product, other=other),
        {**constants, "axes": np.array([1, 2], np.int64)},
    )


def frames(random: np.random.Generator) -> np.ndarray:
    """Depth in metres: everyday, full of holes, without any, one single pixel, whole rows missing."""
    depth = random.uniform(0.2, 12.0, (5, 24, 40))
    depth[1][random.random((24, 40)) < 0.7] = 0.0
    depth[2] = 0.0
    depth[3] = 0.0
    depth[3, 5, 7] = 1.5
    depth[4, ::2] = 0.0
    return depth


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("product", ["valid, inverse", "inverse, valid"])
def test_rows_give_the_statistics_of_the_map(seed: int, product: str) -> None:
    whole = graph(product=product)
    wiring = Wiring(whole)
    assert fold_depth_statistics(wiring) == 1
    folded = finished(wiring)
    assert operators(folded).count("ReduceMean") == 6
    depth = frames(np.random.default_rng(seed))
    np.testing.assert_allclose(run(folded, depth=depth), run(whole, depth=depth), atol=1e-12)


def test_flat_wall_close_by_keeps_its_digits_in_float32() -> None:
    """Its spread is a thousandth of its mean: taking off the square of the mean would leave rounding alone."""
    random = np.random.default_rng(0)
    depth = (0.4 + random.normal(scale=4e-4, size=(1, 24, 40))).astype(np.float32)
    wiring = Wiring(graph("float"))
    fold_depth_statistics(wiring)
    truth = run(graph(), depth=depth.astype(np.float64))
    np.testing.assert_allclose(run(finished(wiring), depth=depth), truth, atol=2e-5)


def test_another_formula_is_left_alone() -> None:
    wiring = Wiring(graph(other="s2"))
    assert fold_depth_statistics(wiring) == 0
    assert wiring.model == graph(other="s2")
