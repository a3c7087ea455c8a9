"""FP16 → FP32 is exact: the same weights, no half-precision left, and back again the same answers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.node_types import graph_problems, heavy_node_types
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.convert import convert
from mutualformer.export.precision.half import to_fp16
from mutualformer.export.precision.widen import to_fp32
from mutualformer.runtime import zoo
from tests.conftest import ModelFiles


@pytest.fixture(scope="module")
def half() -> onnx.ModelProto:
    return onnx.load(zoo.resolve("sod-nano"))


def _answer(model: onnx.ModelProto) -> np.ndarray:
    random = np.random.default_rng(0)
    inputs = {
        "rgb": random.integers(0, 256, (1, 320, 320, 3), np.uint8),
        "depth": random.uniform(0.5, 5, (1, 320, 320)).astype(np.float32),
    }
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def test_every_weight_is_there_unchanged_and_nothing_is_half(half: onnx.ModelProto) -> None:
    wide = to_fp32(half)
    assert graph_problems("fp32", heavy_node_types(wide)) == []
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in wide.graph.initializer}
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in wide.graph.initializer}
    shared = set(before) & set(after)
    assert len(shared) > 250
    for name in shared:
        assert np.array_equal(before[name].astype(np.float64), after[name].astype(np.float64)), name


def test_answers_agree_and_the_way_back_gives_the_same_file(half: onnx.ModelProto) -> None:
    wide = to_fp32(half)
    again = to_fp16(wide)
    assert np.abs(_answer(wide) - _answer(half)).max() < 2e-3
    assert np.array_equal(_answer(again), _answer(half))


def test_a_quantised_file_cannot_be_widened(nano: ModelFiles) -> None:
    model, contract = read_onnx(nano.onnx)
    done, after = convert(model, contract, "int8", "synthetic:16?seed=9")
    assert (after.precision, after.cda_nodes) == ("int8", 2)
    with pytest.raises(ExportError, match="make the fp32 file of the fp32 or fp16 one"):
        convert(done, after, "fp32")
