"""The interpreter computes what ONNX Runtime computes in float32, and rounds where a float16 graph says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lab.emulation import __main__ as emulation
from lab.emulation.session import EmulatedSession, Interpreter
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.graph.trace import example_inputs
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.export.precision.half import to_fp16
from mutualformer.runtime.session.onnxruntime import OnnxSession
from tests.conftest import ModelFiles


def graph(nodes: list[onnx.NodeProto], kind: int, **constants: np.ndarray) -> onnx.ModelProto:
    """x (1, n) → y, both of ``kind``."""
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    x, y = (helper.make_tensor_value_info(name, kind, None) for name in "xy")
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], values))


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return Interpreter(model).run({"x": torch.from_numpy(x)})["y"].numpy()


def test_saliency_is_that_of_onnx_runtime(nano: ModelFiles) -> None:
    session = OnnxSession(nano.onnx, "cpu")
    inputs = {name: value.numpy() for name, value in example_inputs(session.contract, 2, seed=3).items()}
    expected, actual = (s.run(**inputs)["saliency"] for s in (session, EmulatedSession(nano.onnx)))
    assert expected.std() > 1e-4
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("pads", [(0, 0, 1, 1), (1, 2, 2, 1), (1, 1, 1, 1)])
def test_padding_may_differ_from_side_to_side(pads: tuple[int, ...], tmp_path: Path) -> None:
    """What TensorFlow calls SAME pads after more than before; the shipped colour streams have it at stride 2."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=list(pads), strides=[2, 2])
    model = graph([node], TensorProto.FLOAT, w=weights)
    x = rng.standard_normal((2, 3, 8, 10)).astype(np.float32)
    onnx.save(model, tmp_path / "conv.onnx")
    expected = ort.InferenceSession(tmp_path / "conv.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(run(model, x), expected, atol=1e-5)


def test_sums_in_float32_stores_in_float16() -> None:
    ones = np.ones((4097, 1), np.float16)
    product = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], TensorProto.FLOAT16, w=ones)
    # A float16 accumulator would stop at 2048; 4097 is no float16 number, its neighbour 4096 is.
    assert run(product, np.ones((1, 4097), np.float16)).item() == 4096.0
    square = graph([helper.make_node("Mul", ["x", "x"], ["y"])], TensorProto.FLOAT16)
    assert np.isinf(run(square, np.full((1, 1), 300, np.float16))).all()
    third = graph([helper.make_node("Div", ["x", "w"], ["y"])], TensorProto.FLOAT16, w=np.array(3, np.float16))
    assert run(third, np.ones((1, 1), np.float16)) == np.float16(1) / np.float16(3)


def test_quantisation_rounds_half_to_even_and_saturates() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    model = graph(nodes, TensorProto.FLOAT, s=np.array(0.5, np.float32), z=np.array(0, np.int8))
    x = np.array([[0.25, 0.75, -0.25, 100.0, -100.0]], np.float32)
    np.testing.assert_array_equal(run(model, x), [[0.0, 1.0, 0.0, 63.5, -64.0]])


def test_unknown_operators_are_refused() -> None:
    with pytest.raises(ExportError, match="does not know: Erf"):
        Interpreter(graph([helper.make_node("Erf", ["x"], ["y"])], TensorProto.FLOAT))


def test_half_islands_are_not_rounded_between_their_nodes(nano: ModelFiles) -> None:
    """Depth in metres, the means over the image, and the answer stay FP32 all the way."""
    model, contract = read_onnx(nano.onnx)
    half = to_fp16(model)
    kinds = {}

    def watch(node: onnx.NodeProto, inputs: list[object], outputs: list[torch.Tensor]) -> None:
        kinds[node.name] = {x.dtype for x in outputs}

    Interpreter(half).run(example_inputs(contract, 1), watch=watch)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    from_half = {node.output[0] for node in casts if kinds[node.name] == {torch.float16}}
    assert not [node.name for node in casts if node.input[0] in from_half and kinds[node.name] == {torch.float32}]
    for node in half.graph.node:
        if node.op_type in ("ReduceMean", "ReduceSum", "Reciprocal", "Sqrt", "LayerNormalization", "Sigmoid"):
            assert kinds[node.name] == {torch.float32}, node.name


def test_parity_in_true_half_precision(nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, contract = read_onnx(nano.onnx)
    save_checked(convert(model, contract, "fp16")[0], tmp_path / "half.onnx")
    arguments = [str(nano.checkpoint), str(tmp_path / "half.onnx"), "--data", "synthetic:3?seed=3"]
    assert emulation.main([*arguments, "--out", str(tmp_path)]) == 0
    assert "parity holds in true half precision" in capsys.readouterr().out
    report = json.loads((tmp_path / "parity.json").read_text())
    assert 0 < report["tensor"]["mean_abs"] <= 0.002
    assert report["candidate"]["backend"].startswith("emulated")
    assert emulation.main([str(nano.checkpoint), str(nano.checkpoint), "--out", str(tmp_path)]) == 1
    assert "only .onnx files" in capsys.readouterr().err
