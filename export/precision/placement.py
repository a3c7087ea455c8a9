"""Decides which nodes run in INT8: one function for every reason why a node stays in half precision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.values import attribute, inferred
from mutualformer.export.precision.half import answer_nodes, camera_nodes

WEIGHTED_OPS = ("Conv", "MatMul", "Gemm")
NARROW = 32  # output channels; fewer fill no group of the channels in which TensorRT stores INT8 tensors
_FUSED_OPS = ("Relu", "Clip", "Add", "HardSwish", "HardSigmoid", "LeakyRelu")


@dataclass(frozen=True)
class Placement:
    """Choices that one TensorRT needs and the next does not.

    ``scales``: "fp16", or "fp32" for versions that miscompile FP16 scales (TensorRT issue 4832, Orin).
    ``weights``: "dq" stores INT8 and a DequantizeLinear; "qdq" stores floating point and a QuantizeLinear before it,
    for versions that refuse the former. ``depthwise``: the precision of depthwise convolutions, "fp16" or "int8"; INT8
    does not speed them up (TensorRT issue 4529), and they lose most by it (docs/quantization.md).
    """

    scales: str = "fp16"
    weights: str = "dq"
    depthwise: str = "fp16"


DEFAULT = Placement()


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Value → the node that writes it."""
    return {name: node for node in graph.node for name in node.output}


def _is_weighted(node: onnx.NodeProto) -> bool:
    return node.op_type in WEIGHTED_OPS


def quantized_inputs(node: onnx.NodeProto, producer: Mapping[str, onnx.NodeProto]) -> list[int]:
    """Indices of the inputs of a quantised node that get a Q/DQ pair.

    For an addition, those that no convolution writes: TensorRT adds the other branch inside the convolution's kernel,
    which a Q/DQ pair between the two would forbid. None, hence no INT8, where both come from convolutions.
    """
    if node.op_type != "Add":
        return [0, 1]
    return [i for i, name in enumerate(node.input[:2]) if name not in producer or not _is_weighted(producer[name])]


def quantizable(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that may run in INT8.

    Convolutions and products with constant weights, and additions of two feature maps (rank 4, neither constant, not
    both straight from a convolution); none that reads what a CDA node writes. Nor the bias-free qkv product of a plain
    attention (its reader is a Reshape): TensorRT-RTX 1.7 pulls it into its attention fusion and computes it in FP16
    despite the Q/DQ around it (``export/engine/proof.py`` finds that), so the graph keeps FP16 there.
    """
    graph, producer = model.graph, producers(model.graph)
    constants = {tensor.name for tensor in graph.initializer}
    types = inferred(model)
    from_cda = {name for node in graph.node if is_cda(node) for name in node.output}
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    # What the camera gives and what the program answers stay in the type of the contract.
    skipped = camera_nodes(model) | answer_nodes(model)
    names = []
    for node in graph.node:
        # CDA is a plugin that writes half precision; a Q/DQ pair after it would cost a launch of its own.
        if node.name in skipped or from_cda.intersection(node.input):
            continue
        if node.op_type == "MatMul" and readers.get(node.output[0]) == {"Reshape"}:
            continue
        # Only products with constant weights: a product of two activations, as in attention, has no weights whose scale
        # is known in advance.
        weights = [name in constants for name in node.input[:2]]
        weighted = _is_weighted(node) and weights == [False, True]
        # Rank 4 tells an addition of feature maps from a bias and from token sums, which are cheap in half precision.
        residual = (
            node.op_type == "Add"
            and not any(weights)
            and all(name in types and len(types[name].shape.dim) == 4 for name in node.input)
        )
        if weighted or (residual and quantized_inputs(node, producer)):
            names.append(node.name)
    return names


# -- reasons to stay in half precision


def depth_readers(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that read depth: they stay in FP16.

    Colour arrives as bytes, and eight bits lose nothing of it. Depth is a measurement of 16 bits: in 127 levels over ±4
    deviations the relief between an object and the wall behind it is lost before the first layer. Of all layers of
    ``sod-nano`` this small one cost most of the budget (docs/quantization.md).
    """
    measured = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    camera, names = camera_nodes(model), []
    for node in model.graph.node:
        # Depth is followed from the graph's input through the nodes that prepare it to the first convolutions that read
        # it.
        if measured.intersection(node.input):
            if node.name in camera:
                measured.update(node.output)
            elif _is_weighted(node):
                names.append(node.name)
    return names


def depthwise_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the depthwise convolutions: every output channel reads one input channel."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    names = []
    for node in model.graph.node:
        groups = attribute(node, "group", 1)
        # One input channel for each output channel: with a channel multiplier there are more outputs than inputs, which
        # is depthwise still.
        if node.op_type == "Conv" and groups > 1 and node.input[1] in weights and weights[node.input[1]][1] == 1:
            names.append(node.name)
    return names


def narrow_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the other convolutions that write fewer than NARROW channels: they stay in FP16.

    The first bottlenecks of a pyramid pass all that the later layers see through few channels, and without a Relu, so
    their range is wide. In ``sod-nano`` three of them made nearly all of INT8's error (docs/quantization.md). INT8
    saves little there: its tensors are stored in groups of 32 channels, the rest of a group is padding.
    """
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    depthwise = depthwise_nodes(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name not in depthwise]
    return [node.name for node in convolutions if weights.get(node.input[1], [NARROW])[0] < NARROW]


def lone_additions(model: onnx.ModelProto, kept: Collection[str]) -> list[str]:
    """Names of the residual additions after a convolution of ``kept``.

    There is no INT8 convolution to fuse them into, so a Q/DQ pair on their other branch would only round it."""
    producer = producers(model.graph)
    names = []
    for node in model.graph.node:
        sides = [producer[name] for name in node.input[:2] if name in producer]
        if node.op_type == "Add" and any(_is_weighted(side) and side.name in kept for side in sides):
            names.append(node.name)
    return names


def quiet_readers(model: onnx.ModelProto, ranges: Mapping[str, float], least: float) -> list[str]:
    """Names of the nodes that read an activation whose calibrated range is below ``least``, too small for a scale."""
    # Its scale, range / 127, would be subnormal or 0 in FP16, and the division by it infinite.
    quiet = {name for name, limit in ranges.items() if limit < least}
    return [node.name for node in model.graph.node if quiet.intersection(node.input[:2])]


def around_scales(model: onnx.ModelProto, chosen: Iterable[str]) -> list[str]:
    """Names of the nodes that stay FP32 with scales in FP32: Q/DQ, quantised nodes, and those TensorRT fuses to them.

    A cast between a convolution and the Relu or addition after it would prevent the fusion.
    """
    kept = {n.name for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")} | set(chosen)
    constants = {tensor.name for tensor in model.graph.initializer}
    # Nodes are in topological order, so one pass finds chains: a Relu after an addition after a convolution.
    full = {name for node in model.graph.node if node.name in kept for name in node.output}
    for node in model.graph.node:
        if node.op_type in _FUSED_OPS and all(name in full or name in constants for name in node.input if name):
            kept.add(node.name)
        if node.name in kept:
            full.update(node.output)
    return [node.name for node in model.graph.node if node.name in kept]
