"""FP32 graph → INT8 graph: explicit symmetric Q/DQ on convolutions, linear layers and residual adds, the rest FP16.

Weights per output channel, stored as INT8. Activations per tensor, scales from calibration, zero point 0. No Q/DQ
touches a LayerNormalization's input or a CDA node's inputs and outputs: both take FP16, as in the FP16 graph.
ONNX Runtime's own quantiser places the nodes; this module decides where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.calibration import Feed, calibrate
from export.cda_function import is_cda
from export.errors import ExportError
from export.half import answer_nodes, camera_nodes, check_keep, to_fp16, typed_without_function
from export.tidy import sort

QUANTIZED_OPS = ("Conv", "MatMul", "Gemm", "Add")
DEFAULT_METHOD = "minmax"


def quantizable(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that INT8 may take.

    Convolutions and products with constant weights, and additions of two feature maps (rank 4, neither constant);
    none that reads what a CDA node writes. Nor the bias-free qkv product of a plain attention (its reader is a
    Reshape): TensorRT-RTX 1.7 pulls it into its attention fusion and computes it in FP16 whatever the Q/DQ around it
    say (``export.precision`` finds that), so the graph says FP16 too.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.graph.value_info}
    from_cda = {name for node in graph.node if is_cda(node) for name in node.output}
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    skipped = camera_nodes(model) | answer_nodes(model)
    names = []
    for node in graph.node:
        if node.name in skipped or from_cda.intersection(node.input):
            continue
        if node.op_type == "MatMul" and readers.get(node.output[0]) == {"Reshape"}:
            continue
        weights = [name in constants for name in node.input[:2]]
        weighted = node.op_type in ("Conv", "MatMul", "Gemm") and weights == [False, True]
        residual = node.op_type == "Add" and not any(weights) and all(ranks.get(name) == 4 for name in node.input)
        if weighted or residual:
            names.append(node.name)
    return names


def to_int8(
    model: onnx.ModelProto, feeds: Sequence[Feed], method: str = DEFAULT_METHOD, keep: Iterable[str] = ()
) -> onnx.ModelProto:
    """Quantise ``model`` (FP32, with its CDA function) on calibration ``feeds``; ``keep``: node names left in FP16.

    Deterministic for the same feeds. Raises ExportError for too few frames, activations that are not finite, tensors
    without a range; ValueError for a keep-list that names no node.
    """
    check_keep(model, keep)
    chosen = [name for name in quantizable(model) if name not in set(keep)]
    if not chosen:
        raise ExportError("no convolution or linear layer is left to quantise")
    ranges = calibrate(model, feeds, method, QUANTIZED_OPS)
    quantizer = QDQQuantizer(
        typed_without_function(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=chosen,
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTIZED_OPS),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,  # TensorRT wants biases in floating point
            "OpTypesToExcludeOutputQuantization": list(QUANTIZED_OPS),
            "DedicatedQDQPair": False,
        },
    )
    quantizer.quantize_model()
    quantized = sort(quantizer.model.model)
    _spare_others(quantized, set(chosen))
    _check_scales(quantized)
    _compact(quantized)
    quantized.functions.extend(model.functions)
    return to_fp16(quantized)


def _spare_others(model: onnx.ModelProto, chosen: set[str]) -> None:
    """Give every node that was not chosen its tensor as it was: the quantiser hands Q/DQ to all readers of a tensor.

    So a LayerNormalization beside a quantised linear layer goes on reading full activations.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in chosen or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for index, name in enumerate(node.input):
            maker = makers.get(name)
            if maker is None or maker.op_type != "DequantizeLinear":
                continue
            quantize = makers.get(maker.input[0])
            if quantize is not None and quantize.op_type == "QuantizeLinear":
                node.input[index] = quantize.input[0]


def _check_scales(model: onnx.ModelProto) -> None:
    """A scale of zero or one that is not finite would silence its tensor."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = values.get(node.input[1])
            if scale is None:
                raise ExportError(f"node {node.name}: no calibrated scale for tensor {node.input[0]!r}")
            if not ((scale > 0).all() and (scale < 1e30).all()):
                raise ExportError(f"node {node.name}: scale of tensor {node.input[0]!r} is {scale.min()}, expected > 0")


def _compact(model: onnx.ModelProto) -> None:
    """Short names for what the quantiser added and one zero point for all: a tenth of a small model's file.

    A weight's DequantizeLinear needs no zero point; an activation's QuantizeLinear does, it says "int8".
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    zero = onnx.helper.make_tensor("zero_int8", onnx.TensorProto.INT8, [], b"\0", raw=True)
    new: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if node.input[0] in constants:
            new[node.input[0]], new[node.input[1]] = f"w{index}", f"ws{index}"
            del node.input[2:]
        else:
            node.input[2] = zero.name
        letter = "q" if node.op_type == "QuantizeLinear" else "d"
        node.name = f"{letter}{index}"
        new[node.output[0]] = f"{letter}{index}_out"
    for index, name in enumerate(constants):
        if len(name) > 12:  # "depth_backbone.blocks.3.2.dw_mid.conv.bias", twice in the file
            new.setdefault(name, f"c{index}")
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    for name, short in new.items():
        if name in constants:
            constants[name].name = short
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, zero])
