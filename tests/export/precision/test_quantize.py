"""FP16 and INT8 graphs: what is converted, what is left alone, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mutualformer.export.engine.proof import heavy_node_types
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.precision.calibration import Feed
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.export.precision.half import answer_nodes, camera_nodes, to_fp16, typed_without_function
from mutualformer.export.precision.quantize import Quantizer, depth_readers, place, to_int8
from mutualformer.export.to_trt import read_onnx
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session.onnxruntime import OnnxSession
from tests.conftest import NANO_SIZE, ModelFiles


def feeds(contract: Contract, count: int, seed: int = 0) -> list[Feed]:
    """Smooth random frames with holes."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rgb = cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), NANO_SIZE[::-1])
        depth = cv2.resize(random.uniform(0.5, 5, (6, 8)).astype(np.float32), NANO_SIZE[::-1])
        depth[random.random(depth.shape) < 0.05] = 0
        made.append(prepare(contract, rgb, depth))
    return made


@pytest.fixture(scope="module")
def full(nano: ModelFiles) -> tuple[onnx.ModelProto, Contract]:
    return read_onnx(nano.onnx)


@pytest.fixture(scope="module")
def half(full: tuple[onnx.ModelProto, Contract]) -> onnx.ModelProto:
    return to_fp16(full[0])


@pytest.fixture(scope="module")
def int8(full: tuple[onnx.ModelProto, Contract]) -> onnx.ModelProto:
    return to_int8(full[0], feeds(full[1], 16))


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def outputs(model: onnx.ModelProto, contract: Contract, tmp_path: Path, frames: list[Feed]) -> np.ndarray:
    onnx.helper.set_model_props(model, contract.to_props())
    save_checked(model, tmp_path / "x.onnx")
    session = OnnxSession(tmp_path / "x.onnx", "cpu")
    return np.concatenate([session.run(**feed)["saliency"] for feed in frames])


def test_the_answer_begins_where_nothing_else_reads() -> None:
    """A feature pooled from a normalisation that later layers read too: the addition before it is theirs, FP16."""
    graph = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        tail (float[1, 4, 8] x, float[8, 8] w, float[4, 8] place, float[8] g) => (float[1, 8] own, float[1, 4, 8] y) {
            [conv] a = MatMul (x, w)
            [add] b = Add (a, place)
            [norm] c = LayerNormalization (b, g)
            axes = Constant <value_ints = [1]> ()
            [pool] own = ReduceMean <keepdims = 0> (c, axes)
            [product] d = MatMul (c, w)
            [answer] y = Sigmoid (d)
        }"""
    )
    assert answer_nodes(graph) >= {"pool", "answer"}
    assert not answer_nodes(graph) & {"conv", "add", "norm", "product"}


def test_half_has_islands_where_they_belong(half: onnx.ModelProto) -> None:
    kinds = heavy_node_types(half)
    assert set(kinds.values()) == {"Half"}
    known = types(half)
    for node in half.graph.node:
        if node.op_type in ("LayerNormalization", "Softmax", "ReduceMean", "Sigmoid"):
            assert known[node.input[0]] == TensorProto.FLOAT, node.name
        if is_cda(node):
            assert {known[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
    assert known["saliency"] == known["depth"] == TensorProto.FLOAT
    assert known["rgb"] == TensorProto.UINT8


def test_half_computes_the_same(full: tuple[onnx.ModelProto, Contract], half: onnx.ModelProto, tmp_path: Path) -> None:
    model, contract = full
    frames = feeds(contract, 3, seed=9)
    expected = outputs(model, contract, tmp_path, frames)
    assert expected.std() > 1e-4
    assert np.abs(outputs(half, contract, tmp_path, frames) - expected).mean() < 1e-3


def test_camera_arithmetic_stays_in_full_precision(full: tuple[onnx.ModelProto, Contract]) -> None:
    names = camera_nodes(full[0])
    kinds = {node.op_type for node in full[0].graph.node if node.name in names}
    assert "ReduceMean" in kinds
    assert kinds.isdisjoint({"Conv", "MatMul", "CrossDiffusionAttention", "LayerNormalization"})


def test_keep_list_keeps(full: tuple[onnx.ModelProto, Contract]) -> None:
    name = next(node.name for node in full[0].graph.node if node.op_type == "Conv")
    assert heavy_node_types(to_fp16(full[0], keep=[name]))[name] == "Float"
    with pytest.raises(ValueError, match="no node of the graph: nonsense"):
        to_fp16(full[0], keep=["nonsense"])


def test_int8_is_symmetric_per_channel_and_explicit(int8: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    counts = {"Q": 0, "weights": 0}
    for node in int8.graph.node:
        if node.op_type == "QuantizeLinear":
            counts["Q"] += 1
            assert values[node.input[1]].size == 1
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert len(node.input) == 2 or not values[node.input[2]].any()
            assert node.op_type == "DequantizeLinear" or values[node.input[2]].dtype == np.int8
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            counts["weights"] += 1
            assert values[node.input[0]].dtype == np.int8
            channels = [n for n in values[node.input[0]].shape if n == values[node.input[1]].size]
            assert channels or values[node.input[0]].shape[0] == 1
    assert counts["Q"] > 20
    assert counts["weights"] > 20
    kinds = list(heavy_node_types(int8).values())
    assert kinds.count("Int8") > 0.7 * len(kinds)
    assert "Float" not in kinds


def test_no_qdq_around_cda_or_before_layernorm(int8: onnx.ModelProto) -> None:
    makers = {name: node for node in int8.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in int8.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    checked = 0
    for node in int8.graph.node:
        if is_cda(node):
            checked += 1
            assert all(makers[name].op_type != "DequantizeLinear" for name in node.input)
            assert all("QuantizeLinear" not in readers[name] for name in node.output)
        if node.op_type == "LayerNormalization":
            source = makers[node.input[0]]
            source = makers[source.input[0]] if source.op_type == "Cast" else source
            assert source.op_type != "DequantizeLinear"
    assert checked == 2


def test_only_the_depth_branch_reads_its_input_in_half(
    full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto
) -> None:
    """Depth is a 16-bit measurement, colour a byte."""
    kinds = heavy_node_types(int8)
    (reader,) = depth_readers(full[0])
    weights = next(node.input[1] for node in full[0].graph.node if node.name == reader)
    assert weights == "depth_backbone.conv_stem.weight"
    assert kinds[reader] == "Half"
    first = next(node for node in full[0].graph.node if node.op_type == "Conv" and "rgb_backbone" in node.input[1])
    assert kinds[first.name] == "Int8"


def test_residual_adds_are_quantised(int8: onnx.ModelProto) -> None:
    makers = {name: node.op_type for node in int8.graph.node for name in node.output}
    assert any(
        node.op_type == "Add" and [makers.get(name) for name in node.input] == ["DequantizeLinear"] * 2
        for node in int8.graph.node
    )


def test_int8_follows_full_precision(
    full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto, tmp_path: Path
) -> None:
    model, contract = full
    frames = feeds(contract, 3, seed=9)
    expected, found = (outputs(m, contract, tmp_path, frames).ravel() for m in (model, int8))
    assert np.corrcoef(expected, found)[0, 1] > 0.9


def test_files_shrink(full: tuple[onnx.ModelProto, Contract], half: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    size = full[0].ByteSize()
    assert half.ByteSize() <= 0.52 * size
    assert int8.ByteSize() <= 0.30 * size


def test_int8_is_deterministic(full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto) -> None:
    again = to_int8(full[0], feeds(full[1], 16))
    del again.metadata_props[:]
    first = onnx.ModelProto()
    first.CopyFrom(int8)
    del first.metadata_props[:]
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


def test_too_few_frames_are_refused(full: tuple[onnx.ModelProto, Contract]) -> None:
    with pytest.raises(ExportError, match="15 frames, expected at least 16"):
        to_int8(full[0], feeds(full[1], 15))


def test_activations_that_are_not_finite_are_refused(full: tuple[onnx.ModelProto, Contract]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(full[0])
    weight = next(t for t in model.graph.initializer if numpy_helper.to_array(t).ndim == 4)
    values = numpy_helper.to_array(weight).copy()
    values[0] = np.inf
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportError, match="expected finite values"):
        to_int8(model, feeds(full[1], 16))


@pytest.mark.parametrize(
    ("limit", "says"), [(None, "no calibrated range"), (1e-12, "is no normal float16"), (1e9, "is no normal float16")]
)
def test_dead_or_missing_scales_are_refused(
    full: tuple[onnx.ModelProto, Contract], limit: float | None, says: str
) -> None:
    """A scale that float16 turns into zero or infinity would silence the tensor behind it."""
    model, _ = full
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    with pytest.raises(ExportError, match=says):
        place(typed_without_function(model), [node.name], {} if limit is None else {node.input[0]: limit})


def test_one_layer_alone_leaves_all_others_in_full_precision(full: tuple[onnx.ModelProto, Contract]) -> None:
    quantizer = Quantizer.measure(full[0], feeds(full[1], 16))
    kinds = heavy_node_types(quantizer.place([quantizer.nodes[3]]))
    assert {name for name, kind in kinds.items() if kind == "Int8"} == {quantizer.nodes[3]}
    assert set(kinds.values()) == {"Int8", "Float"}


def test_convert_updates_the_contract(full: tuple[onnx.ModelProto, Contract]) -> None:
    model, contract = full
    done, after = convert(model, contract, "fp16")
    assert after.precision == "fp16"
    assert Contract.from_props({p.key: p.value for p in done.metadata_props}) == after
    assert len(done.functions) == 1
    with pytest.raises(ExportError, match="needs --calibration"):
        convert(model, contract, "int8")
    with pytest.raises(ExportError, match="only an fp32 file"):
        convert(done, after, "fp16")
