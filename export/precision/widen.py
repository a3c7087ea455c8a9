"""FP16 graph with FP32 islands → FP32 graph. Exact: every half-precision number is a single-precision one too."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from mutualformer.export.graph.cda_function import attach_function
from mutualformer.export.graph.tidy import tidy
from mutualformer.export.precision.half import typed_without_function
from mutualformer.runtime.session.onnx_file import tensors

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` that computes in single precision with the same weights; casts between the two are gone."""
    wide = typed_without_function(model)
    graph = wide.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for tensor in tensors(wide):
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        target = next((a for a in node.attribute if node.op_type == "Cast" and a.name == "to"), None)
        if target is not None and target.i in _FLOATS:
            target.i = TensorProto.FLOAT
            if kinds.get(node.input[0]) in _FLOATS:
                node.op_type = "Identity"
                del node.attribute[:]
    del graph.value_info[:]
    wide = tidy(wide)
    attach_function(wide)
    wide.metadata_props.extend([] if wide.metadata_props else model.metadata_props)
    onnx.checker.check_model(wide, full_check=True)
    return wide
