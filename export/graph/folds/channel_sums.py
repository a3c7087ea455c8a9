"""Folds a depthwise convolution whose channels are then summed into one dense convolution with one output channel.

The logits' head is written that way because a CPU computes it faster (``train/decoder.py``). The dense form takes a GPU
one kernel less, and nothing is rounded before it is summed.
"""

from __future__ import annotations

import onnx

from mutualformer.export.graph.folds.wiring import Wiring
from mutualformer.export.graph.values import attribute


def fold_channel_sums(wiring: Wiring) -> int:
    """Fold every sum over the channels of a depthwise convolution; returns how many there were."""
    folded = 0
    for node in list(wiring.graph.node):
        if node.op_type == "ReduceSum" and _is_over_channels(wiring, node):
            folded += _fold(wiring, node)
            wiring.index()
    return folded


def _is_over_channels(wiring: Wiring, node: onnx.NodeProto) -> bool:
    axes = wiring.constant(node.input[1]) if len(node.input) > 1 else None
    return axes is not None and axes.tolist() == [1] and not attribute(node, "keepdims", 1)


def _fold(wiring: Wiring, total: onnx.NodeProto) -> bool:
    """Let the convolution sum, and the sum only drop the axis; False where it is not such a convolution."""
    conv = wiring.producer.get(total.input[0])
    if conv is not None and conv.op_type == "Cast" and wiring.only_reader(conv.output[0]) is total:
        conv = wiring.producer.get(conv.input[0])
    if conv is None or conv.op_type != "Conv" or len(conv.input) > 2 or len(wiring.readers(conv.output[0])) != 1:
        return False
    weights = wiring.constant(conv.input[1])
    if weights is None or weights.shape[1] != 1 or attribute(conv, "group", 1) != weights.shape[0]:
        return False
    conv.input[1] = wiring.add_constant(weights.swapaxes(0, 1))
    kept = [one for one in conv.attribute if one.name != "group"]
    del conv.attribute[:], total.attribute[:]
    conv.attribute.extend(kept)
    total.op_type = "Squeeze"
    return True
