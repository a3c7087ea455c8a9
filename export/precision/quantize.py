"""FP32 graph → INT8 graph: explicit symmetric Q/DQ on convolutions, linear layers and residual adds, the rest FP16.

Weights per output channel, stored as INT8. Activations per tensor, scales from calibration, zero point 0. No Q/DQ
touches a LayerNormalization's input or a CDA node's inputs and outputs: both take FP16, as in the FP16 graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.precision.calibration import DEFAULT_METHOD, LEVELS, Feed, Histogram, collect, limits
from mutualformer.export.precision.half import answer_nodes, camera_nodes, check_keep, to_fp16, typed_without_function

WEIGHTED_OPS = ("Conv", "MatMul", "Gemm")
_ZERO = "zero"
_LONGEST_NAME = 12  # "depth_backbone.blocks.3.2.dw_mid.conv.bias", twice in the file, is a tenth of a small model


def quantizable(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that INT8 may take.

    Convolutions and products with constant weights, and additions of two feature maps (rank 4, neither constant);
    none that reads what a CDA node writes. Nor the bias-free qkv product of a plain attention (its reader is a
    Reshape): TensorRT-RTX 1.7 pulls it into its attention fusion and computes it in FP16 whatever the Q/DQ around it
    say (``mutualformer.export.engine.proof`` finds that), so the graph says FP16 too.
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
        weighted = node.op_type in WEIGHTED_OPS and weights == [False, True]
        residual = node.op_type == "Add" and not any(weights) and all(ranks.get(name) == 4 for name in node.input)
        if weighted or residual:
            names.append(node.name)
    return names


@dataclass(frozen=True)
class Quantizer:
    """An FP32 graph with its calibration done: any choice of scales and layers can be made of it without new frames.

    ``nodes``: names of what INT8 may take; ``histograms``: of every value they read.
    """

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    histograms: dict[str, Histogram]
    _ranges: dict[str, dict[str, float]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _bare(self) -> onnx.ModelProto:
        return typed_without_function(self.model)

    @classmethod
    def measure(cls, model: onnx.ModelProto, feeds: Sequence[Feed]) -> Quantizer:
        """Run ``feeds`` through ``model`` (FP32, with its CDA function). Raises ExportError, see ``collect``."""
        nodes = quantizable(model)
        return cls(model, tuple(nodes), collect(model, feeds, _activations(model, nodes)))

    def place(self, chosen: Collection[str], method: str = DEFAULT_METHOD) -> onnx.ModelProto:
        """Only ``chosen`` nodes in INT8, all the rest still FP32. Raises ExportError for a scale of zero."""
        if method not in self._ranges:
            self._ranges[method] = limits(self.histograms, method)
        done = place(self._bare, chosen, self._ranges[method])
        done.functions.extend(self.model.functions)
        return done

    def to_int8(self, method: str = DEFAULT_METHOD, keep: Iterable[str] = ()) -> onnx.ModelProto:
        """All in INT8 but ``keep`` and what reads the depth sensor, the rest FP16.

        Raises ValueError for a keep-list that names no node.
        """
        check_keep(self.model, keep)
        kept = {*keep, *depth_readers(self.model)}
        chosen = [name for name in self.nodes if name not in kept]
        if not chosen:
            raise ExportError("no convolution or linear layer is left to quantise")
        return to_fp16(self.place(chosen, method))


def depth_readers(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that read a measured input: they stay in FP16.

    Colour arrives as bytes, and eight bits lose nothing of it. Depth is a measurement of 16 bits; in 127 levels over ±4
    deviations the relief between an object and the wall behind it is gone before the first layer has seen it. Of all
    layers of ``sod-nano`` this one alone cost most of the budget (docs/quantization.md), and it is a small one.
    """
    measured = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    camera, names = camera_nodes(model), []
    for node in model.graph.node:
        if measured.intersection(node.input):
            if node.name in camera:
                measured.update(node.output)
            elif node.op_type in WEIGHTED_OPS:
                names.append(node.name)
    return names


def to_int8(
    model: onnx.ModelProto, feeds: Sequence[Feed], method: str = DEFAULT_METHOD, keep: Iterable[str] = ()
) -> onnx.ModelProto:
    """Quantise ``model`` (FP32, with its CDA function) on calibration ``feeds``; ``keep``: node names left in FP16.

    Deterministic for the same feeds. Raises ExportError for too few frames, activations that are not finite, scales
    that are zero; ValueError for a keep-list that names no node.
    """
    check_keep(model, keep)
    return Quantizer.measure(model, feeds).to_int8(method, keep)


def _activations(model: onnx.ModelProto, chosen: Iterable[str]) -> list[str]:
    """The values that ``chosen`` nodes read, each once, in the graph's order: the tensors that need a scale."""
    picked, constants = set(chosen), {tensor.name for tensor in model.graph.initializer}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in picked:
            found.update(dict.fromkeys(name for name in node.input[:2] if name not in constants))
    return list(found)


def place(model: onnx.ModelProto, chosen: Iterable[str], ranges: Mapping[str, float]) -> onnx.ModelProto:
    """``model`` with a Q/DQ pair before every activation that a chosen node reads, and its weights as INT8.

    One pair per tensor, read by chosen nodes only: a LayerNormalization beside them goes on reading full activations.
    """
    done = onnx.ModelProto()
    done.CopyFrom(model)
    graph = done.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    picked, short = set(chosen), _short_names(graph)
    pairs: dict[str, str] = {}  # value → its dequantised twin
    nodes: list[onnx.NodeProto] = []
    new = [numpy_helper.from_array(np.array(0, np.int8), _ZERO)]
    for node in graph.node:
        if node.name in picked:
            for index, name in enumerate(node.input[:2]):
                if name in weights:
                    tensors, pairs[name] = _weight(node, weights[name], f"w{len(nodes)}")
                    new += tensors
                    nodes.append(_dequantize(tensors[0].name, tensors[1].name, pairs[name], _channel_axis(node)))
                elif name not in pairs:
                    scale, pairs[name] = _scale(name, ranges, f"s{len(nodes)}"), f"d{len(nodes)}_out"
                    new.append(scale)
                    q = f"q{len(nodes)}"
                    nodes.append(helper.make_node("QuantizeLinear", [name, scale.name, _ZERO], [f"{q}_out"], q))
                    nodes.append(_dequantize(f"{q}_out", scale.name, pairs[name]))
                node.input[index] = pairs[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if short.get(tensor.name, tensor.name) in used]
    for tensor in kept:
        tensor.name = short.get(tensor.name, tensor.name)
    del graph.initializer[:]
    graph.initializer.extend([*kept, *new])
    return done


def _channel_axis(node: onnx.NodeProto) -> int:
    """The axis of a weighted node's weights along which its output channels lie."""
    if node.op_type == "Conv":
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1


def _weight(node: onnx.NodeProto, values: NDArray[np.float32], name: str) -> tuple[list[onnx.TensorProto], str]:
    """INT8 weights and their scales per output channel, and the name of what dequantises them."""
    axis = _channel_axis(node)
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    if not np.isfinite(largest).all():
        raise ExportError(f"node {node.name}: its weights hold values that are not finite")
    # What float16 cannot hold as a scale would come out as another one, or as zero.
    scale = np.maximum(largest / LEVELS, np.finfo(np.float16).tiny).astype(np.float16).astype(np.float32)
    levels = np.clip(np.round(values / scale), -LEVELS, LEVELS).astype(np.int8)
    tensors = [numpy_helper.from_array(levels, name), numpy_helper.from_array(scale.reshape(-1), f"{name}s")]
    return tensors, f"{name}_out"


def _scale(name: str, ranges: Mapping[str, float], short: str) -> onnx.TensorProto:
    """The scale of an activation; zero or not finite, it would silence the tensor."""
    if name not in ranges:
        raise ExportError(f"no calibrated range for tensor {name!r}")
    with np.errstate(over="ignore", under="ignore"):  # told below, with the tensor's name
        value = np.float16(ranges[name] / LEVELS)
    if not (np.isfinite(value) and value >= np.finfo(np.float16).tiny):
        raise ExportError(
            f"tensor {name!r} was calibrated to ±{ranges[name]:.3g}: its scale {ranges[name] / LEVELS:.3g} is no "
            "normal float16 number; look at the layer before it, or --keep the nodes that read it"
        )
    return numpy_helper.from_array(np.array(value, np.float32), short)


def _dequantize(source: str, scale: str, target: str, axis: int | None = None) -> onnx.NodeProto:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    # Not the name of the weights: TensorRT gives that one to their constant layer and refuses it twice.
    return helper.make_node(
        "DequantizeLinear", [source, scale], [target], f"d{target.removesuffix('_out')}", **attributes
    )


def _short_names(graph: onnx.GraphProto) -> dict[str, str]:
    names = [tensor.name for tensor in graph.initializer]
    return {name: f"c{index}" for index, name in enumerate(names) if len(name) > _LONGEST_NAME}
