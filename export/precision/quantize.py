"""FP32 graph → INT8 graph: explicit symmetric Q/DQ on convolutions, linear layers and residual adds, the rest FP16.

Weights per output channel, stored as INT8. Activations per tensor, scales from calibration, zero point 0. No Q/DQ
touches a LayerNormalization's input or a CDA node's inputs and outputs: both take FP16, as in the FP16 graph. An
addition that follows a convolution is quantised on its other branch only, because TensorRT adds inside the
convolution's kernel and a Q/DQ pair between the two would forbid that.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.values import attribute
from mutualformer.export.precision.calibration import LEVELS, Feed, Histogram, collect, limits
from mutualformer.export.precision.half import check_keep, to_fp16, typed_without_function
from mutualformer.export.precision.placement import (
    DEFAULT,
    Placement,
    around_scales,
    depth_readers,
    depthwise_nodes,
    lone_additions,
    narrow_convolutions,
    producers,
    quantizable,
    quantized_inputs,
    quiet_readers,
)

log = logging.getLogger("mutualformer")

_ZERO = "zero"
_LONGEST_NAME = (
    12  # "depth_backbone.blocks.3.2.dw_mid.conv.bias", twice in the file, takes a tenth of a small model's file
)


@dataclass(frozen=True)
class Quantizer:
    """A calibrated FP32 graph, from which every choice of scales and layers can be made without running frames again.

    ``nodes``: names of the nodes that may run in INT8; ``histograms``: of every value they read.
    """

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    histograms: dict[str, Histogram]

    @cached_property
    def _bare(self) -> onnx.ModelProto:
        return typed_without_function(self.model)

    @classmethod
    def measure(cls, model: onnx.ModelProto, feeds: Sequence[Feed]) -> Quantizer:
        """Run ``feeds`` through ``model`` (FP32, with its CDA function). Raises ExportError, see ``collect``."""
        nodes = quantizable(model)
        return cls(model, tuple(nodes), collect(model, feeds, _activations(model, nodes)))

    @cached_property
    def ranges(self) -> dict[str, float]:
        """Largest magnitude that each activation's scale shall represent."""
        return limits(self.histograms)

    def place(self, chosen: Collection[str], placement: Placement = DEFAULT) -> onnx.ModelProto:
        """The graph with ``chosen`` nodes in INT8 and the rest in FP32. Raises ExportError for a scale of zero."""
        quantized = place(self._bare, chosen, self.ranges, placement)
        quantized.functions.extend(self.model.functions)
        return quantized

    def kept(self, placement: Placement = DEFAULT, keep: Iterable[str] = ()) -> dict[str, str]:
        """Node that :meth:`to_int8` leaves in half precision though INT8 is possible → the reason, in graph order."""
        # The range whose scale would be the smallest normal number.
        least = float(_smallest(placement.scales)) * LEVELS
        reasons = {
            "asked for": list(keep),
            "reads the depth sensor": depth_readers(self.model),
            "depthwise": depthwise_nodes(self.model) if placement.depthwise == "fp16" else [],
            "writes few channels": narrow_convolutions(self.model),
            "reads too small values": quiet_readers(self.model, self.ranges, least),
        }
        # The first reason that applies is reported: the order is reversed, so that it is written last.
        kept = {name: reason for reason, names in reversed(reasons.items()) for name in names}
        # This reason depends on all others: an addition is worth INT8 only where a convolution in INT8 feeds it.
        kept |= {name: "adds to such a layer" for name in lone_additions(self.model, kept) if name not in kept}
        nodes = {*self.nodes, *reasons["asked for"]}
        return {n.name: kept[n.name] for n in self.model.graph.node if n.name in kept and n.name in nodes}

    def to_int8(self, keep: Iterable[str] = (), placement: Placement = DEFAULT) -> onnx.ModelProto:
        """All possible nodes in INT8 but :meth:`kept` ones, the rest FP16. Raises ValueError for unknown ``keep``."""
        check_keep(self.model, keep)
        kept = self.kept(placement, keep)
        quiet = [name for name, reason in kept.items() if reason == "reads too small values"]
        if quiet:
            log.warning("%d layers stay in FP16, they read too small values for INT8: %s", len(quiet), quiet[:3])
        chosen = [name for name in self.nodes if name not in kept]
        if not chosen:
            raise ExportError("no convolution or linear layer is left to quantise")
        placed = self.place(chosen, placement)
        return to_fp16(placed, around_scales(placed, chosen) if placement.scales == "fp32" else ())


def _activations(model: onnx.ModelProto, chosen: Iterable[str]) -> list[str]:
    """The values that ``chosen`` nodes read, each once, in the graph's order: the tensors that need a scale."""
    names_to_quantize, constants = set(chosen), {tensor.name for tensor in model.graph.initializer}
    producer = producers(model.graph)
    names: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in names_to_quantize:
            read = (node.input[index] for index in quantized_inputs(node, producer))
            names.update(dict.fromkeys(name for name in read if name not in constants))
    return list(names)


def place(
    model: onnx.ModelProto,
    chosen: Iterable[str],
    ranges: Mapping[str, float],
    placement: Placement = DEFAULT,
) -> onnx.ModelProto:
    """``model`` with a Q/DQ pair before every activation that a chosen node reads, and its weights as INT8.

    One pair per tensor, read by chosen nodes only: a LayerNormalization beside them goes on reading full activations.
    """
    quantized = copy.deepcopy(model)
    graph = quantized.graph
    # Nodes are copied in order into a new list, each Q/DQ pair before its first reader: ONNX demands topological order.
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names_to_quantize, short, producer = set(chosen), _short_names(graph), producers(graph)
    pairs: dict[str, str] = {}  # value → its dequantised twin
    nodes: list[onnx.NodeProto] = []
    new = [numpy_helper.from_array(np.array(0, np.int8), _ZERO)]
    for node in graph.node:
        if node.name in names_to_quantize:
            for index in quantized_inputs(node, producer):
                name = node.input[index]
                if name in weights:
                    # The number of nodes so far makes the name unique, and is the same for every run on the same graph.
                    short_name, axis = f"w{len(nodes)}", _channel_axis(node)
                    levels, scale = _weight(node, weights[name], short_name, placement.scales)
                    pairs[name] = f"{short_name}_out"
                    source = short_name
                    # The weights are stored as the floating-point values that the levels stand for, and TensorRT
                    # quantises them again when it builds.
                    if placement.weights == "qdq":
                        levels, source = _as_floats(levels, scale, axis), f"{short_name}_q"
                        zeros = numpy_helper.from_array(np.zeros(scale.dims[0], np.int8), f"{short_name}z")
                        new.append(zeros)
                        q = helper.make_node(
                            "QuantizeLinear", [short_name, scale.name, zeros.name], [source], source, axis=axis
                        )
                        nodes.append(q)
                    new += [levels, scale]
                    nodes.append(_dequantize(source, scale.name, pairs[name], axis))
                # Several quantised nodes may read one activation; they share its pair.
                elif name not in pairs:
                    scale, pairs[name] = _scale(name, ranges, f"s{len(nodes)}", placement.scales), f"d{len(nodes)}_out"
                    new.append(scale)
                    quantize = f"q{len(nodes)}"
                    outputs = [f"{quantize}_out"]
                    nodes.append(helper.make_node("QuantizeLinear", [name, scale.name, _ZERO], outputs, quantize))
                    nodes.append(_dequantize(outputs[0], scale.name, pairs[name]))
                node.input[index] = pairs[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
    # The floating-point weights that INT8 ones replace have no reader any more.
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if short.get(tensor.name, tensor.name) in used]
    for tensor in kept:
        tensor.name = short.get(tensor.name, tensor.name)
    del graph.initializer[:]
    graph.initializer.extend([*kept, *new])
    return quantized


def _channel_axis(node: onnx.NodeProto) -> int:
    """The axis of a weighted node's weights along which its output channels lie."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


_KINDS: dict[str, type[np.floating[Any]]] = {"fp16": np.float16, "fp32": np.float32}  # of the scales


def _smallest(scales: str) -> np.floating[Any]:
    """The least scale: below the smallest normal number of its precision it would lose digits or become zero."""
    return np.finfo(_KINDS[scales]).tiny


def _weight(
    node: onnx.NodeProto, values: NDArray[np.float32], name: str, scales: str
) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """INT8 weights and their scales per output channel."""
    axis = _channel_axis(node)
    others = tuple(i for i in range(values.ndim) if i != axis)
    # Symmetric, per output channel: the channel's largest magnitude becomes level 127.
    largest = np.abs(values).max(axis=others, keepdims=True)
    if not np.isfinite(largest).all():
        raise ExportError(f"node {node.name}: its weights hold values that are not finite")
    # The scale is rounded to its stored precision first and the weights are divided by the rounded scale, so the
    # rounding of the scale costs no accuracy. A channel of zeros gets the smallest scale instead of 0.
    scale = np.maximum(largest / LEVELS, _smallest(scales)).astype(_KINDS[scales]).astype(np.float32)
    levels = np.clip(np.round(values / scale), -LEVELS, LEVELS).astype(np.int8)
    return numpy_helper.from_array(levels, name), numpy_helper.from_array(scale.reshape(-1), f"{name}s")


def _as_floats(levels: onnx.TensorProto, scale: onnx.TensorProto, axis: int) -> onnx.TensorProto:
    """The values that INT8 weights represent: quantised again, in either precision, they give the same levels."""
    whole = numpy_helper.to_array(levels)
    shape = [1] * whole.ndim
    shape[axis] = -1
    return numpy_helper.from_array(whole * numpy_helper.to_array(scale).reshape(shape), levels.name)


def _scale(name: str, ranges: Mapping[str, float], short: str, scales: str) -> onnx.TensorProto:
    """The scale of an activation. Raises ExportError where it is zero or not finite, which would erase the tensor."""
    if name not in ranges:
        raise ExportError(f"no calibrated range for tensor {name!r}")
    kind = _KINDS[scales]
    with np.errstate(over="ignore", under="ignore"):  # raised below, with the tensor's name
        value = kind(ranges[name] / LEVELS)
    if not (np.isfinite(value) and value >= _smallest(scales)):
        raise ExportError(
            f"tensor {name!r} was calibrated to ±{ranges[name]:.3g}: its scale {ranges[name] / LEVELS:.3g} is no "
            f"normal {np.dtype(kind)} number; look at the layer before it, or --keep the nodes that read it"
        )
    return numpy_helper.from_array(np.array(value, np.float32), short)


def _dequantize(source: str, scale: str, target: str, axis: int | None = None) -> onnx.NodeProto:
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    # Not the weights' name: TensorRT gives that to their constant layer and refuses a second layer of it.
    return helper.make_node(
        "DequantizeLinear", [source, scale], [target], f"d{target.removesuffix('_out')}", **attributes
    )


def _short_names(graph: onnx.GraphProto) -> dict[str, str]:
    names = [tensor.name for tensor in graph.initializer]
    return {name: f"c{index}" for index, name in enumerate(names) if len(name) > _LONGEST_NAME}
