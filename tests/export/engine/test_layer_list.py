"""Reading the builder's final layer list, and judging precision by it. The text is a real builder's, shortened."""

from __future__ import annotations

from mutualformer.export.engine.layer_list import Layer, parse_layers, precision_counts
from mutualformer.export.engine.proof import node_counts, precision_problems

_FORMAT = "Format: (Linear) Row major linear format"
LOG = [
    "Layers:\nName: stale, LayerType: kgen, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: ",
    "something else",
    "Layers:\n"
    f"Name: conv0, LayerType: correlation, Inputs: [ {{ Name: x, Dimensions: [-1,3,96,128], Strides: [36864,1,384,3], "
    f"StrideOrder: [3,0,2,1], Datatype: Half, {_FORMAT} }}], Constants: [ {{ Name: w, Dimensions: [64,3,16,16], "
    f"Datatype: Float, {_FORMAT} }}], Outputs: [ {{ Name: y, Dimensions: [-1,64,6,8], Datatype: Half, {_FORMAT} }}], "
    "TacticName: stub, StreamId: 0, Metadata: [ONNX Layer: node_conv2d][ONNX Layer: node_relu]\n"
    f"Name: cda0, LayerType: custom_layer, Inputs: [ {{ Name: a, Datatype: Float, {_FORMAT} }}, {{ Name: b, "
    f"Datatype: Float, {_FORMAT} }}], Constants: [], Outputs: [ {{ Name: c, Datatype: Float, {_FORMAT} }}], "
    "TacticName: , StreamId: 0, Metadata: [ONNX Layer: node_cda]\n",
]


def test_reads_the_last_block() -> None:
    conv, cda = parse_layers(LOG)
    assert (conv.name, conv.kind, conv.inputs, conv.outputs) == ("conv0", "correlation", ("Half",), ("Half",))
    assert conv.onnx_nodes == ("node_conv2d", "node_relu")
    assert cda.is_plugin
    assert not conv.is_plugin
    assert precision_counts([conv, cda]) == {"Float": 1, "Half": 1}


def test_no_list_is_no_layers() -> None:
    assert parse_layers(["nothing here"]) == []


def test_precision_that_fell_back_is_found() -> None:
    layers = parse_layers(LOG)
    assert precision_problems("fp16", {"node_conv2d": "Half", "node_cda": "Half"}, layers) == [
        "node node_cda is Half in the graph but Float in the engine"
    ]
    assert precision_problems("fp16", {"node_conv2d": "Half"}, layers) == []
    assert "no Half" in precision_problems("fp16", {"node_conv2d": "Float"}, layers)[0]
    assert "1 Half" in precision_problems("fp32", {"node_conv2d": "Half", "node_cda": "Float"}, layers)[0]
    assert precision_problems("int8", {"node_conv2d": "Int8"}, layers) == [
        "node node_conv2d is Int8 in the graph but Half in the engine",
        "no engine layer reads or writes Int8",
    ]


def test_nodes_that_no_layer_names_are_counted_and_must_be_made_up_for() -> None:
    layers = parse_layers(LOG)
    nodes = {"node_conv2d": "Half", "node_gone": "Half", "node_cda": "Float"}
    assert node_counts(nodes, layers) == {"unnamed": 1, "Float": 1, "Half": 1}
    problem = "1 Half nodes are named by no engine layer (node_gone), and only 0 layers without a name of the graph"
    assert [text[: len(problem)] for text in precision_problems("fp16", nodes, layers)] == [problem]
    renamed = Layer("fused", "kgen", ("Half",), ("Half",), ())
    assert precision_problems("fp16", nodes, [*layers, renamed]) == []
    assert precision_problems("fp16", nodes, [*layers, Layer("fused", "kgen", ("Float",), ("Float",), ())]) != []
