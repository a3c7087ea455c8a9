"""What a graph says of its values and nodes: inferred types and shapes, attributes."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper


def inferred(model: onnx.ModelProto, **options: bool) -> dict[str, onnx.TypeProto.Tensor]:
    """Value → type and shape as ONNX infers them, inputs and outputs included; ``options``: of ``infer_shapes``."""
    graph = onnx.shape_inference.infer_shapes(model, **options).graph
    return {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute, ``default`` where it has none of that name."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
