"""For engines: the blocked means of the depth input as plain ones, sixteen reductions in a row as four.

``train/camera_input.py`` takes means in blocks of 32, because ONNX Runtime adds 10⁵ float32 values one after another
and loses four digits of them. TensorRT's reductions add in a tree, over threads and warps, which loses next to nothing
(not measured: that takes a GPU); there the blocks only cost kernels. ``parity`` of the engine has the last word, and
``to_trt --unfolded`` keeps them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_CHAIN = ["ReduceMean", "ReduceMean", "Reshape", "ReduceMean", "ReduceMean", "Reshape"]  # from the last to the first
_AXES = "plain_mean_axes"


def plain_means(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy of ``model`` whose blocked means over height and width are one ReduceMean each, and how many those are.

    A chain Reshape, ReduceMean, ReduceMean, twice, and the Unsqueeze that puts both axes back: (B, H, W) → (B, 1, 1).
    Means of blocks of one size; anything else is left alone.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = rewritten.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    dropped: set[str] = set()
    replaced = 0
    for node in graph.node:
        source, chain = _blocks_before(node, producer, readers, constants)
        if source:
            dropped.update(chain)
            node.op_type, replaced = "ReduceMean", replaced + 1
            node.input[:] = [source, _AXES]
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("keepdims", 1))
    if replaced:
        kept = [node for node in graph.node if node.name not in dropped]
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int64), _AXES))
    return rewritten, replaced


def _blocks_before(
    node: onnx.NodeProto,
    producer: dict[str, onnx.NodeProto],
    readers: dict[str, int],
    constants: dict[str, np.ndarray],
) -> tuple[str, list[str]]:
    """What the chain of blocked means that ``node`` ends began with, and its nodes' names; "" where it ends none."""
    axes = constants.get(node.input[1]) if node.op_type == "Unsqueeze" and len(node.input) > 1 else None
    if axes is None or axes.tolist() != [1, 2]:
        return "", []
    name, chain = node.input[0], []
    for kind in _CHAIN:
        maker = producer.get(name)
        if maker is None or maker.op_type != kind or readers[name] != 1:
            return "", []
        if kind == "ReduceMean" and constants.get(maker.input[1], np.zeros(0)).size != 1:
            return "", []
        chain.append(maker.name)
        name = maker.input[0]
    return name, chain
