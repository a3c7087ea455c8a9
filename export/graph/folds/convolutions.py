"""Folds two adjacent convolutions into one where the second is pointwise: their product is a convolution.

A depthwise and a pointwise convolution become a dense one, which has more arithmetic, but saves a kernel launch and the
map's way to memory and back, and runs on tensor cores, as a depthwise convolution cannot. A projection and the next
block's expansion become one pointwise convolution. The estimated cost decides whether a fold pays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from mutualformer.export.graph.folds.wiring import Array, Wiring
from mutualformer.export.graph.values import attribute
from mutualformer.runtime.benchmarks.frame_cost import Device, Work, total_us

# A folded bias of 11 in a bottleneck of sod-nano, rounded to FP16, cost more accuracy than all other folds together.
_MOST_BIAS = 4.0


@dataclass(frozen=True)
class _Pair:
    """A convolution and the pointwise one that is its only reader, with their weights."""

    first: onnx.NodeProto
    second: onnx.NodeProto
    weights: Array
    mixing: Array  # (output channels, channels between)


def fold_convolutions(wiring: Wiring, device: Device) -> int:
    """Fold every pair that pays on ``device``; returns their number."""
    folded = 0
    for node in list(wiring.graph.node):
        # Nodes are visited in order and the fold replaces the second node in place, so a chain of three is folded as
        # the product of the first two with the third.
        pair = _pair(wiring, node)
        if pair is not None and _holds(wiring, pair) and _pays(wiring, pair, device):
            _fold(wiring, pair)
            wiring.index()
            folded += 1
    return folded


def _pair(wiring: Wiring, second: onnx.NodeProto) -> _Pair | None:
    if second.op_type != "Conv" or not _is_pointwise(wiring, second):
        return None
    first = wiring.producer.get(second.input[0])
    # A map that another node reads too has to be computed anyway.
    if first is None or first.op_type != "Conv" or wiring.only_reader(first.output[0]) is not second:
        return None
    weights, mixing = wiring.constant(first.input[1]), wiring.constant(second.input[1])
    # One-dimensional convolutions and weights that are computed are left alone; no shipped model has them.
    if weights is None or mixing is None or weights.ndim != 4 or weights.dtype != mixing.dtype:
        return None
    if any(wiring.constant(name) is None for node in (first, second) for name in node.input[2:]):
        return None
    return _Pair(first, second, weights, mixing[:, :, 0, 0])


def _is_pointwise(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether a convolution is 1 × 1, dense, with stride 1 and without padding."""
    shape = wiring.shape(node.input[1])
    return (
        shape[2:] == (1, 1)
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "strides", [1, 1])) == {1}
        and not any(attribute(node, "pads", [0]))
    )


def _dense(pair: _Pair) -> Array:
    """Weights of the one convolution, float64: (output channels, input channels, height, width)."""
    groups = attribute(pair.first, "group", 1)
    out, each = pair.mixing.shape[0], pair.weights.shape[1]
    # Written by groups, the product of a depthwise and a pointwise convolution is one einsum: each input channel of a
    # group keeps its own spatial kernel. In float64 only the cast at the end rounds.
    mixing = pair.mixing.astype(np.float64).reshape(out, groups, -1)
    weights = pair.weights.astype(np.float64).reshape(groups, -1, each, *pair.weights.shape[2:])
    product: Array = np.einsum("ogm,gmikl->ogikl", mixing, weights)
    return product.reshape(out, groups * each, *pair.weights.shape[2:])


def _holds(wiring: Wiring, pair: _Pair) -> bool:
    """Whether the folded bias is small enough for FP16: above _MOST_BIAS its rounding costs accuracy."""
    return pair.weights.dtype != np.float16 or bool(np.abs(_bias(wiring, pair)).max() <= _MOST_BIAS)


def _pays(wiring: Wiring, pair: _Pair, device: Device) -> bool:
    """Whether one convolution is cheaper than two by the estimated cost; False where a shape is unknown."""
    before, between, after = (
        wiring.shape(name) for name in (pair.first.input[0], pair.first.output[0], pair.second.output[0])
    )
    if not (before and between and after):
        return False
    # The device's arithmetic rate depends on the type, and depthwise convolutions run without tensor cores.
    kind = "Half" if pair.weights.dtype == np.float16 else "Float"
    size = pair.weights.dtype.itemsize
    groups = attribute(pair.first, "group", 1)
    sizes = [int(np.prod(shape)) for shape in (before, between, after)]
    kernel = int(np.prod(pair.weights.shape[1:]))
    dense = before[1] * int(np.prod(pair.weights.shape[2:]))

    def work(flops: int, *moved: int, depthwise: bool = False) -> Work:
        return Work("", 2 * flops, size * sum(moved), kind, depthwise)

    two = (
        work(kernel * sizes[1], sizes[0], sizes[1], pair.weights.size, depthwise=groups > 1),
        work(between[1] * sizes[2], sizes[1], sizes[2], pair.mixing.size),
    )
    # The one convolution moves no map between the two, but has more weights and more arithmetic. Where the maps are
    # small the launch that it saves decides.
    one = work(dense * sizes[2], sizes[0], sizes[2], dense * after[1])
    return total_us((one,), device) <= total_us(two, device)


def _fold(wiring: Wiring, pair: _Pair) -> None:
    """Make the second convolution the product of both, on the first one's input."""
    bias = _bias(wiring, pair)
    kind = pair.weights.dtype
    inputs = [pair.first.input[0], *(wiring.add_constant(value.astype(kind)) for value in (_dense(pair), bias))]
    pair.second.input[:] = inputs
    # Position and stride are the first one's, whose spatial kernel it keeps; "group" is left out, because the product
    # is dense.
    kept = [a for a in pair.first.attribute if a.name in ("strides", "pads", "kernel_shape", "dilations", "auto_pad")]
    del pair.second.attribute[:]
    pair.second.attribute.extend(kept)


def _bias(wiring: Wiring, pair: _Pair) -> Array:
    """Bias of the one convolution, float64: (output channels,)."""
    inner, outer = (
        np.zeros(wiring.shape(node.input[1])[0]) if len(node.input) < 3 else wiring.constant(node.input[2])
        for node in (pair.first, pair.second)
    )
    assert inner is not None
    assert outer is not None
    return pair.mixing.astype(np.float64) @ inner.astype(np.float64) + outer.astype(np.float64)
