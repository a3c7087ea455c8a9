"""Reading the layer list in every spelling, and judging precision by it, planted fallbacks included."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.export.engine.layer_list import (
    Layer,
    datatype,
    inspected_layers,
    kernel_count,
    parse_layers,
    precision_counts,
)
from mutualformer.export.engine.proof import node_counts, precision_problems
from mutualformer.export.graph.node_types import graph_problems
from tests.export.engine.spellings import CDA, NODES, ROWS, Row, change, classic, classic_sentences, inspector, rtx

Read = Callable[[tuple[Row, ...]], list[Layer]]


def _logged(spell: Callable[[tuple[Row, ...]], str]) -> Read:
    def read(rows: tuple[Row, ...]) -> list[Layer]:
        stale = "Layers:\nName: stale, LayerType: kgen, Inputs: [], Outputs: [], Metadata: "
        return parse_layers([stale, "something else", spell(rows)], plugins=[CDA])

    return read


READERS: dict[str, Read] = {
    "rtx": _logged(rtx),
    "classic 10.4": _logged(classic),
    "classic 10.0": _logged(classic_sentences),
    "inspector": lambda rows: inspected_layers(inspector(rows), plugins=[CDA]),
}
every_spelling = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@every_spelling
def test_types_nodes_and_plugins_are_read(read: Read) -> None:
    layers = [layer for layer in read(ROWS) if layer.kind != "signal"]
    assert [(layer.inputs, layer.outputs, layer.onnx_nodes) for layer in layers] == [
        (row.reads, row.writes, row.nodes) for row in ROWS
    ]
    assert [layer.name for layer in layers if layer.is_plugin] == [CDA]
    assert {layer.tactic for layer in layers} == {"0x00000000000003e8"}
    assert kernel_count(read(ROWS)) == len(ROWS) + 1  # CDA launches two
    assert precision_counts(layers) == {"Float": 1, "Half": 6}


@every_spelling
def test_plugin_is_recognised_by_its_name_in_the_network(read: Read) -> None:
    rows = tuple(Row(r.name, ("Ours", "ours"), r.reads, r.writes, ()) if r.name == CDA else r for r in ROWS)
    (plugin,) = (layer for layer in read(rows) if layer.is_plugin)
    assert plugin.onnx_nodes == (CDA,)


@every_spelling
def test_what_was_asked_for_is_proven(read: Read) -> None:
    assert precision_problems("fp16", NODES, read(ROWS)) == []
    assert node_counts(NODES, read(ROWS)) == {"unnamed": 0, "Half": 5}


@every_spelling
@pytest.mark.parametrize("node", ["node_conv1", "node_conv2", "node_mm", CDA])
@pytest.mark.parametrize("other", ["Float", "Int8"])
def test_planted_fallback_is_found(read: Read, node: str, other: str) -> None:
    problems = precision_problems("fp16", NODES, read(change(node, other)))
    assert problems == [f"node {node} is Half in the graph but {other} in the engine"]


@every_spelling
def test_int8_that_is_only_written_is_no_int8(read: Read) -> None:
    """A convolution in half precision whose kernel quantises its result: every Q/DQ is there, the speed is not."""
    nodes = {**NODES, "node_conv1": "Int8"}
    assert precision_problems("int8", nodes, read(change("node_conv1", "Int8", "Half"))) == []
    problems = precision_problems("int8", nodes, read(change("node_conv1", "Half", "Int8")))
    assert problems == ["node node_conv1 is Int8 in the graph but Half in the engine"]


@every_spelling
def test_rescaling_after_a_fallback_hides_nothing(read: Read) -> None:
    """TensorRT-RTX names a convolution again in the kernel that requantises its result."""
    epilogue = Row("__myl_MulRounCast", ("kgen", "kgen"), ("Float",), ("Int8",), ("node_conv1", "q1"))
    nodes = {**NODES, "node_conv1": "Int8"}
    assert precision_problems("int8", nodes, read((*change("node_conv1", "Int8"), epilogue))) == []
    assert precision_problems("int8", nodes, read((*change("node_conv1", "Float"), epilogue))) == [
        "node node_conv1 is Int8 in the graph but Float in the engine"
    ]


@every_spelling
def test_full_precision_is_proven_too(read: Read) -> None:
    nodes = {"node_conv1": "Float"}
    assert precision_problems("fp32", nodes, read(change("node_conv1", "Float"))) == []
    assert "Half in the engine" in precision_problems("fp32", nodes, read(ROWS))[0]
    tf32 = read(change("node_conv1", "Float", tactic="sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwc"))
    assert precision_problems("fp32", nodes, tf32)[0].startswith("1 layers compute in TF32 (node_conv1")
    assert precision_problems("fp32", nodes, tf32, tf32=True) == []


@every_spelling
def test_list_that_names_no_node_proves_nothing(read: Read) -> None:
    nameless = tuple(Row(row.name, row.kind, row.reads, row.writes, ()) for row in ROWS if row.name != CDA)
    problems = precision_problems("fp16", {k: v for k, v in NODES.items() if k != CDA}, read(nameless))
    assert "names a node of the graph, so its precision is not proven" in problems[0]


@every_spelling
def test_nodes_that_no_layer_names_are_counted_and_must_be_made_up_for(read: Read) -> None:
    nodes = {**NODES, "node_gone": "Half", "node_lost": "Half"}
    assert node_counts(nodes, read(ROWS)) == {"unnamed": 2, "Half": 5}
    problem = "2 Half nodes are named by no engine layer (node_gone, node_lost), and only 1 layers without a name"
    assert [text[: len(problem)] for text in precision_problems("fp16", nodes, read(ROWS))] == [problem]
    fused = Row("fused", ("kgen", "kgen"), ("Half",), ("Half",), ())
    assert precision_problems("fp16", nodes, read((*ROWS, fused))) == []
    assert precision_problems("fp16", nodes, read((*ROWS, Row("f", ("kgen", "kgen"), ("Float",), ("Float",), ()))))


def test_graph_is_judged_alone_where_there_is_no_engine() -> None:
    assert "no Half" in graph_problems("fp16", {"node_conv": "Float"})[0]
    assert "1 Half" in graph_problems("fp32", {"node_conv": "Half", "node_cda": "Float"})[0]
    assert graph_problems("int8", {"node_conv": "Int8"}) == []


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Half", "Half"),
        ("Row major linear FP16 format", "Half"),
        ("Row major linear FP32", "Float"),
        ("Row major linear UINT8 format", "UInt8"),
        ("Four wide channel vectorized row major Int8 format", "Int8"),
        ("Row major Int32 format", "Int32"),
        ("BFloat16", "BFloat16"),
        ("Row major linear BF16 format", "BFloat16"),
        ("FP8", "FP8"),
        ("Unknown format", "Unknown format"),
    ],
)
def test_spellings_of_types(spelling: str, name: str) -> None:
    assert datatype(spelling) == name


def test_no_list_is_no_layers() -> None:
    assert parse_layers(["nothing here"]) == []
    assert parse_layers([]) == []


@pytest.mark.parametrize(
    "text", ["", "{}", '{"Layers": ["conv1", "conv2"]}', '{"Layers": 3}', "[]", "null", "not JSON"]
)
def test_inspector_that_says_too_little_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        inspected_layers(text)


@given(st.text(max_size=300))
def test_any_log_line_can_be_read(line: str) -> None:
    for layer in parse_layers([f"Layers:\n{line}\nName: a, LayerType: b, Inputs: [{line}"]):
        assert json.dumps(layer.as_dict())
