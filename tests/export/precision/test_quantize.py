"""FP16 and INT8 graphs: what is converted, what is left alone, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.node_types import heavy_node_types
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.calibration import Feed, check_frames
from mutualformer.export.precision.convert import convert, save_checked
from mutualformer.export.precision.half import answer_nodes, camera_nodes, to_fp16, typed_without_function
from mutualformer.export.precision.placement import (
    Placement,
    depth_readers,
    depthwise_nodes,
    lone_additions,
    producers,
    quantizable,
    quantized_inputs,
)
from mutualformer.export.precision.quantize import Quantizer, place
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import Item
from tests.conftest import ModelFiles


def feeds(contract: Contract, count: int, seed: int = 0) -> list[Feed]:
    """Rendered frames, on which a trained network says something."""
    return [prepare(contract, item.rgb, item.depth) for item in _scenes(count, seed)]


@cache
def _scenes(count: int, seed: int) -> list[Item]:
    scenes = opening.frames(f"synthetic:{count}?seed={1000 + seed}")
    return [scenes[index] for index in range(count)]


@pytest.fixture(scope="module")
def full(nano: ModelFiles) -> tuple[onnx.ModelProto, Contract]:
    return read_onnx(nano.onnx)


@pytest.fixture(scope="module")
def half(full: tuple[onnx.ModelProto, Contract]) -> onnx.ModelProto:
    return to_fp16(full[0])


@pytest.fixture(scope="module")
def quantizer(full: tuple[onnx.ModelProto, Contract]) -> Quantizer:
    return Quantizer.measure(full[0], feeds(full[1], 16))


@pytest.fixture(scope="module")
def int8(full: tuple[onnx.ModelProto, Contract]) -> onnx.ModelProto:
    return Quantizer.measure(full[0], feeds(full[1], 16)).to_int8()


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
    assert kinds.count("Int8") > 0.55 * len(kinds)  # a third of the convolutions are depthwise
    assert "Float" not in kinds


def test_depthwise_convolutions_are_half_unless_asked(
    full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto, quantizer: Quantizer
) -> None:
    names = depthwise_nodes(full[0])
    assert len(names) > 20
    kinds = heavy_node_types(int8)
    assert {kinds[name] for name in names} == {"Half"}
    kinds = heavy_node_types(quantizer.to_int8(placement=Placement(depthwise="int8")))
    assert sum(kinds[name] == "Int8" for name in names) >= len(names) - 1  # one may read the depth sensor
    reasons = quantizer.kept()
    assert set(reasons.values()) == {"depthwise", "reads the depth sensor", "writes few channels"}


def test_a_convolution_that_writes_few_channels_is_half(
    full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto
) -> None:
    kinds, depthwise = heavy_node_types(int8), depthwise_nodes(full[0])
    weights = {tensor.name: tensor.dims for tensor in full[0].graph.initializer}
    convolutions = [node for node in full[0].graph.node if node.op_type == "Conv" and node.name not in depthwise]
    narrow = {node.name for node in convolutions if weights[node.input[1]][0] < 32}
    assert len(narrow) > 3
    assert {kinds[name] for name in narrow} == {"Half"}
    assert "Int8" in {kinds[node.name] for node in convolutions if node.name not in narrow}


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


def test_residual_adds_are_quantised_on_the_skip_branch_only(int8: onnx.ModelProto) -> None:
    """TensorRT adds inside a convolution's kernel, unless a Q/DQ pair stands between the two."""
    makers = {name: node for node in int8.graph.node for name in node.output}

    def before_the_pair(name: str) -> str:
        """What writes a value that arrives through Q/DQ; empty for one that does not."""
        if name not in makers or makers[name].op_type != "DequantizeLinear":
            return ""
        return makers[makers[makers[name].input[0]].input[0]].op_type

    adds = [n for n in int8.graph.node if n.op_type == "Add" and any(before_the_pair(name) for name in n.input)]
    assert len(adds) > 5
    fused = 0
    for node in adds:
        assert "Conv" not in [before_the_pair(name) for name in node.input], node.name
        fused += "Conv" in [makers[name].op_type for name in node.input]
    assert fused > 3


def test_two_convolutions_that_meet_are_added_in_half_precision() -> None:
    """A residual block that changes its width: neither branch may be kept from its convolution."""
    graph = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]>
        block (float[1, 8, 4, 4] x, float[8, 8, 1, 1] v, float[8, 8, 1, 1] w) => (float[1, 8, 4, 4] y)
        {
            [stem] s = Conv (x, v)
            [left] a = Conv (s, w)
            [right] b = Conv (s, v)
            [both] c = Add (a, b)
            [one] d = Add (c, s)
            [last] e = Conv (d, w)
            [answer] y = Relu (e)
        }"""
    )
    for name in "vw":
        graph.graph.initializer.append(numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), name))
    del graph.graph.input[1:]
    names = quantizable(graph)
    assert "both" not in names
    made_by = producers(graph.graph)
    nodes = {node.name: node for node in graph.graph.node}
    assert quantized_inputs(nodes["one"], made_by) == [0]
    assert lone_additions(graph, {"stem"}) == ["one"]


@pytest.mark.slow
@pytest.mark.parametrize("placement", [Placement(scales="fp32"), Placement(weights="qdq"), Placement("fp32", "qdq")])
def test_other_placements_say_the_same(
    full: tuple[onnx.ModelProto, Contract], quantizer: Quantizer, tmp_path: Path, placement: Placement
) -> None:
    contract, frames = full[1], feeds(full[1], 3, seed=9)
    usual, other = quantizer.to_int8(), quantizer.to_int8(placement=placement)
    assert heavy_node_types(other) == heavy_node_types(usual)
    values = {tensor.name: tensor for tensor in other.graph.initializer}
    kinds = types(other)
    wanted = TensorProto.FLOAT if placement.scales == "fp32" else TensorProto.FLOAT16
    weights = {"dq": 0, "qdq": 0}
    for node in other.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[1]].data_type == wanted
        if node.op_type == "QuantizeLinear":
            weights["qdq"] += node.input[0] in values
        if node.op_type == "DequantizeLinear":
            weights["dq"] += node.input[0] in values
        if node.op_type in ("LayerNormalization", "Softmax"):
            assert kinds[node.input[0]] == TensorProto.FLOAT
        if is_cda(node):
            assert {kinds[name] for name in node.input} == {TensorProto.FLOAT16}
    assert weights["qdq" if placement.weights == "dq" else "dq"] == 0
    expected, first, second = (outputs(model, contract, tmp_path, frames) for model in (full[0], usual, other))
    assert np.abs(second - expected).mean() < 1.5 * np.abs(first - expected).mean()
    if placement.scales == "fp16":  # the same numbers, written down in another way
        assert np.abs(second - first).max() < 1e-2


def test_layers_that_read_too_small_values_stay_in_half(quantizer: Quantizer, caplog: pytest.LogCaptureFixture) -> None:
    name = quantizer.nodes[10]
    node = next(node for node in quantizer.model.graph.node if node.name == name)
    quiet = Quantizer(quantizer.model, quantizer.nodes, quantizer.histograms)
    quiet.ranges[node.input[0]] = 1e-4
    kinds = heavy_node_types(quiet.to_int8())
    assert kinds[name] == "Half"
    assert "read too small values" in caplog.text
    assert heavy_node_types(quiet.to_int8(placement=Placement(scales="fp32")))[name] == "Int8"


def blank(contract: Contract, count: int, **change: object) -> list[Feed]:
    built = feeds(contract, 16)
    for feed in built[:count]:
        for key, value in change.items():
            feed[key] = np.full_like(feed[key], value)
    return built


def test_the_same_frame_again_and_again_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    different = [{"rgb": rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)} for _ in range(16)]
    with caplog.at_level("WARNING", "mutualformer"):
        check_frames(different)
        assert not caplog.records
        check_frames(different[:1] * 16)
    assert "only 1 of 16 frames differ" in caplog.text


def test_depth_of_one_distance_is_no_depth() -> None:
    wall: list[Feed] = [{"depth": np.full((1, 8, 8), 1.5, np.float32)}] * 16
    with pytest.raises(ExportError, match="'depth' measures no depth anywhere, or one distance, in 16 of 16"):
        check_frames(wall)


def test_calibration_on_black_or_depthless_frames_is_refused(full: tuple[onnx.ModelProto, Contract]) -> None:
    contract = full[1]
    check_frames(blank(contract, 0))
    check_frames(blank(contract, 4, rgb=0))
    check_frames(blank(contract, 8, depth=0))
    noisy = blank(contract, 16, rgb=0)
    random = np.random.default_rng(0)
    for feed in noisy:  # a cap on the lens of a noisy sensor
        feed["rgb"] = random.integers(0, 8, feed["rgb"].shape, np.uint8)
    for frames, says in (
        (blank(contract, 16, rgb=0), "'rgb' shows nothing"),
        (blank(contract, 5, rgb=127), "'rgb' shows nothing.* in 5 of 16"),
        (noisy, "'rgb' shows nothing"),
        (blank(contract, 16, depth=0), "'depth' measures no depth"),
        (blank(contract, 9, depth=0), "'depth' measures no depth anywhere.* in 9 of 16"),
    ):
        with pytest.raises(ExportError, match=says):
            Quantizer.measure(full[0], frames)


def test_int8_follows_full_precision(
    full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto, tmp_path: Path
) -> None:
    model, contract = full
    frames = feeds(contract, 3, seed=9)
    expected, actual = (outputs(m, contract, tmp_path, frames).ravel() for m in (model, int8))
    assert np.corrcoef(expected, actual)[0, 1] > 0.9


def test_files_shrink(full: tuple[onnx.ModelProto, Contract], half: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    size = full[0].ByteSize()
    assert half.ByteSize() <= 0.53 * size
    assert int8.ByteSize() <= 0.33 * size  # depthwise and narrow convolutions in half precision


def test_int8_is_deterministic(full: tuple[onnx.ModelProto, Contract], int8: onnx.ModelProto) -> None:
    again = Quantizer.measure(full[0], feeds(full[1], 16)).to_int8()
    del again.metadata_props[:]
    first = onnx.ModelProto()
    first.CopyFrom(int8)
    del first.metadata_props[:]
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


def test_too_few_frames_are_refused(full: tuple[onnx.ModelProto, Contract]) -> None:
    with pytest.raises(ExportError, match="15 frames, expected at least 16"):
        Quantizer.measure(full[0], feeds(full[1], 15))


def test_activations_that_are_not_finite_are_refused(full: tuple[onnx.ModelProto, Contract]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(full[0])
    weight = next(t for t in model.graph.initializer if numpy_helper.to_array(t).ndim == 4)
    values = numpy_helper.to_array(weight).copy()
    values[0] = np.inf
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportError, match="expected finite values"):
        Quantizer.measure(model, feeds(full[1], 16))


@pytest.mark.parametrize(
    ("limit", "says"), [(None, "no calibrated range"), (1e-12, "is no normal float16"), (1e9, "is no normal float16")]
)
def test_dead_or_missing_scales_are_refused(
    full: tuple[onnx.ModelProto, Contract], limit: float | None, says: str
) -> None:
    """A scale that float16 turns into zero or infinity would zero the tensor after it."""
    model, _ = full
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    with pytest.raises(ExportError, match=says):
        place(typed_without_function(model), [node.name], {} if limit is None else {node.input[0]: limit})


def test_one_layer_alone_leaves_all_others_in_full_precision(quantizer: Quantizer) -> None:
    kinds = heavy_node_types(quantizer.place([quantizer.nodes[3]]))
    assert {name for name, kind in kinds.items() if kind == "Int8"} == {quantizer.nodes[3]}
    assert set(kinds.values()) == {"Int8", "Float"}


def test_convert_updates_the_contract(full: tuple[onnx.ModelProto, Contract]) -> None:
    model, contract = full
    done, after = convert(model, contract, "fp16")
    assert after.precision == "fp16"
    assert Contract.from_props({p.key: p.value for p in done.metadata_props}) == after
    assert len(done.functions) == 1
    assert convert(done, after, "fp16") == (done, after)
