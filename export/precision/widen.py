"""FP16 graph with FP32 islands → FP32 graph. Exact: every half-precision number is a single-precision one too."""

from __future__ import annotations

import onnx

from mutualformer.export.graph.values import attribute
from mutualformer.export.precision.half import finish, typed_without_function
from mutualformer.runtime.session.onnx_file import widen


def to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` that computes in single precision with the same weights; casts between the two are gone."""
    wide = typed_without_function(widen(model))
    graph = wide.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and attribute(node, "to", 0) == onnx.TensorProto.FLOAT == kinds.get(node.input[0]):
            node.op_type = "Identity"
            del node.attribute[:]
    return finish(wide, model)
