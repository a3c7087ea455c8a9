"""The ONNX nodes whose precision matters, and the type each computes in."""

from __future__ import annotations

import onnx

from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.values import inferred

HEAVY_OPS = ("Conv", "ConvTranspose", "MatMul", "Gemm")  # nearly all arithmetic of a model

KINDS = ("Float", "Half", "Int8")
KIND_OF = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
_TYPES: dict[int, str] = {int(onnx.TensorProto.FLOAT): "Float", int(onnx.TensorProto.FLOAT16): "Half"}


def heavy_node_types(model: onnx.ModelProto) -> dict[str, str]:
    """Name of every convolution, matrix product and CDA node → "Float", "Half" or "Int8" in the graph.

    Int8: both inputs come from a DequantizeLinear.
    """
    kinds = {name: value.elem_type for name, value in inferred(model).items()}
    kinds |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    result = {}
    for node in model.graph.node:
        if node.op_type not in HEAVY_OPS and not is_cda(node):
            continue
        if node.input[0] in dequantized and node.input[1] in dequantized:
            result[node.name] = "Int8"
        else:
            result[node.name] = _TYPES.get(kinds.get(node.input[0], kinds.get(node.output[0], 0)), "unknown")
    return result


def graph_problems(requested: str, nodes: dict[str, str]) -> list[str]:
    """One sentence for everything in :func:`heavy_node_types` that contradicts the precision; empty = it fits.

    ``requested``: "fp32", "fp16" or "int8".
    """
    problems = []
    counts = {kind: list(nodes.values()).count(kind) for kind in KINDS}
    expected_kind = KIND_OF[requested]
    if not counts[expected_kind]:
        problems.append(f"the graph has no {expected_kind} convolution or matrix product (found {counts})")
    if requested == "fp32" and (counts["Half"] or counts["Int8"]):
        problems.append(f"fp32 was asked for, but the graph has {counts['Half']} Half and {counts['Int8']} Int8 nodes")
    return problems
