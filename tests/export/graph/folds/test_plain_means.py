"""Blocked means become plain ones where they are such, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from mutualformer.export.graph.folds.plain_means import fold_plain_means
from mutualformer.export.graph.folds.wiring import Wiring

GRAPH = """<ir_version: 10, opset_import: ["": 20]>
means (float[B, 64, 96] x) => (float[B, 64, 96] y)
<int64[4] s1 = {-1, 64, 3, 32}, int64[3] s2 = {-1, 2, 32}, int64[1] a3 = {3}, int64[1] a2 = {2}, int64[1] a1 = {1},
 int64[2] both = {1, 2}>
{
    [r1] b = Reshape (x, s1)
    [m1] c = ReduceMean <keepdims = 0> (b, a3)
    [m2] d = ReduceMean <keepdims = 0> (c, a2)
    [r2] e = Reshape (d, s2)
    [m3] f = ReduceMean <keepdims = 0> (e, a2)
    [m4] g = ReduceMean <keepdims = 0> (f, a1)
    [u] h = Unsqueeze (g, both)
    [out] y = Sub (x, h)
}"""


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values})[0])


def test_chain_becomes_one_reduction_of_the_same_value() -> None:
    model = onnx.parser.parse_model(GRAPH)
    wiring = Wiring(model)
    assert fold_plain_means(wiring) == 1
    plain = wiring.finished()
    onnx.checker.check_model(plain, full_check=True)
    assert [node.op_type for node in plain.graph.node] == ["ReduceMean", "Sub"]
    values = np.random.default_rng(0).uniform(0, 3, (3, 64, 96)).astype(np.float32)
    np.testing.assert_allclose(run(plain, values), run(model, values), atol=1e-5)
    np.testing.assert_allclose(run(plain, values), values - values.mean((1, 2), keepdims=True), atol=1e-5)


@pytest.mark.parametrize("change", ["read twice", "other axes", "one reduction more"])
def test_anything_else_is_left_alone(change: str) -> None:
    text = GRAPH
    if change == "read twice":
        text = text.replace("[out] y = Sub (x, h)", "[s] l = Relu (f)\n    [out] y = Sub (x, h)")
    model = onnx.parser.parse_model(text)
    if change == "other axes":
        axes = next(tensor for tensor in model.graph.initializer if tensor.name == "both")
        axes.CopyFrom(numpy_helper.from_array(np.array([0, 2], np.int64), "both"))
    if change == "one reduction more":
        model.graph.node[6].input[0] = "x"
    wiring = Wiring(model)
    assert fold_plain_means(wiring) == 0
    assert wiring.model == model
