"""FP32 graph → FP16 graph with FP32 islands. The graph carries the types, because strongly typed builders read only it.

The islands hold what float16 cannot:

* the camera's arithmetic, everything before the first convolution: bytes up to 255, metres, means over 10⁵ pixels;
* LayerNormalization and Softmax, in whose sums of squares and exponentials published FP16 models lose accuracy;
* the end of the graph, which makes the answer: the last Resize and Sigmoid, or the final normalisation;
* the nodes of a keep-list.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from mutualformer.export.graph.cda_function import attach_function, is_cda, strip_function
from mutualformer.export.graph.node_types import HEAVY_OPS
from mutualformer.export.graph.tidy import sort, tidy
from mutualformer.export.graph.values import attribute, inferred

ISLAND_OPS = ("LayerNormalization", "Softmax")


def _is_heavy(node: onnx.NodeProto) -> bool:
    """Whether a node ends an FP32 island: products, and the Q/DQ pairs that must stay next to them."""
    return node.op_type in (*HEAVY_OPS, "QuantizeLinear", "DequantizeLinear") or is_cda(node)


def camera_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that come before any convolution or matrix product."""
    tainted: set[str] = set()  # values that depend on a heavy node
    names = set()
    for node in model.graph.node:
        if _is_heavy(node) or any(name in tainted for name in node.input):
            tainted.update(node.output)
        else:
            names.add(node.name)
    return names


def answer_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes between the last convolution or matrix product and an output.

    A node whose result further layers read too does not count."""
    answers = {output.name for output in model.graph.output}
    elsewhere: set[str] = set()  # values that a node outside the tail reads
    names = set()
    for node in reversed(model.graph.node):
        if answers.intersection(node.output) and not elsewhere.intersection(node.output) and not _is_heavy(node):
            names.add(node.name)
            answers.update(node.input)
        else:
            elsewhere.update(node.input)
    return names


def to_fp16(model: onnx.ModelProto, keep: Iterable[str] = ()) -> onnx.ModelProto:
    """Convert all but the islands. ``keep``: names of further nodes that stay FP32; ValueError on an unknown one.

    Inputs and outputs keep their types. CDA nodes become FP16: the kernels accumulate in FP32 themselves.
    """
    check_keep(model, keep)
    converted = convert_float_to_float16(
        typed_without_function(model),
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=list(ISLAND_OPS),
        node_block_list=sorted(camera_nodes(model) | answer_nodes(model) | set(keep)),
    )
    return finish(converted, model)


def check_keep(model: onnx.ModelProto, keep: Iterable[str]) -> None:
    """Raise ValueError when a keep-list names no node of the graph."""
    unknown = sorted(set(keep) - {node.name for node in model.graph.node})
    if unknown:
        raise ValueError(f"keep-list names no node of the graph: {', '.join(unknown[:3])}")


def typed_without_function(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for rewriters, which do not understand the CDA function: without it, but with the type of every value as
    inference through it found them."""
    bare = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    strip_function(bare)
    return bare


def finish(converted: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Sort, fold and check a rewritten graph, and give it ``original``'s metadata and a CDA function."""
    _drop_round_trips(sort(converted))
    half = tidy(converted)
    attach_function(half)
    del half.metadata_props[:]
    half.metadata_props.extend(original.metadata_props)
    half.doc_string = original.doc_string
    onnx.checker.check_model(half, full_check=True)
    return half


def _drop_round_trips(model: onnx.ModelProto) -> None:
    """Remove FP32 → FP16 → FP32 between neighbours of one island: the converter casts around every node.

    A strongly typed builder must not skip them, and would round metres, and means over 10⁵ pixels, to 11 bits after
    every step.
    """
    graph = model.graph
    del graph.value_info[:]  # some still hold the types before the conversion
    types = inferred(model)
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    same = {}
    for name, cast in casts.items():
        inner = casts.get(cast.input[0])
        if inner is None or [attribute(one, "to", 0) for one in (cast, inner)] != [
            TensorProto.FLOAT,
            TensorProto.FLOAT16,
        ]:
            continue
        if inner.input[0] in types and types[inner.input[0]].elem_type == TensorProto.FLOAT:
            same[name] = inner.input[0]
    answers = {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in answers and node.output[0] in same:
            node.CopyFrom(onnx.helper.make_node("Identity", [same[node.output[0]]], list(node.output), node.name))
        else:
            node.input[:] = [same.get(name, name) for name in node.input]
