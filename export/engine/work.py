"""Counts the flops and bytes of each engine layer for one frame, from the shapes of the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from mutualformer.export.engine.layer_list import Layer
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.folds.wiring import Wiring
from mutualformer.export.graph.node_types import HEAVY_OPS, heavy_node_types
from mutualformer.export.graph.values import attribute
from mutualformer.runtime.benchmarks.frame_cost import Work

_GENERATED = "kgen"


def layer_work(model: onnx.ModelProto, layers: Sequence[Layer]) -> list[Work | None]:
    """Flops and bytes of each layer, None for a layer that launches no kernel.

    ``model``: the graph that the engine was built from. A product counts at the layer made for it, because code
    generated around several operators names neighbouring convolutions too. A quantised value counts one byte.
    """
    graph = _Counted(model)
    own = {name for layer in layers if layer.kind != _GENERATED for name in layer.onnx_nodes}
    return [
        graph.work(layer, own if layer.kind == _GENERATED else set()) if layer.launches else None for layer in layers
    ]


class _Counted:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._wiring = Wiring(model)
        self._nodes = {node.name: node for node in self._wiring.graph.node}
        self._kinds = heavy_node_types(model)

    def work(self, layer: Layer, elsewhere: set[str]) -> Work:
        """``elsewhere``: nodes whose products another layer computes."""
        nodes = [self._nodes[name] for name in layer.onnx_nodes if name in self._nodes]
        nodes = [node for node in nodes if not (node.op_type in HEAVY_OPS and node.name in elsewhere)]
        reads = {name for node in nodes for name in node.input}
        writes = {name for node in nodes for name in node.output}
        kinds = [self._kinds[node.name] for node in nodes if node.name in self._kinds]
        return Work(
            name=layer.name,
            flops=sum(map(self._flops, nodes)),
            moved=sum(map(self._bytes, reads - writes)) + sum(map(self._bytes, self._leaving(writes, nodes))),
            kind=kinds[0] if kinds else next(iter(layer.outputs), "Half"),
            depthwise=any(self._is_depthwise(node) for node in nodes),
            operators="+".join(dict.fromkeys(node.op_type for node in nodes)) or layer.kind,
            launches=layer.launches,
        )

    def _leaving(self, writes: set[str], nodes: list[onnx.NodeProto]) -> set[str]:
        """The values of ``writes`` that a node outside of ``nodes``, or the graph's output, reads."""
        inside = {node.name for node in nodes}
        return {
            name
            for name in writes
            if name in self._wiring.outputs or any(node.name not in inside for node in self._wiring.readers(name))
        }

    def _bytes(self, name: str) -> int:
        """Bytes of a value in memory, in its quantised form where it has one."""
        producer, reader = self._wiring.producer.get(name), self._wiring.only_reader(name)
        if producer is not None and producer.op_type == "DequantizeLinear":
            name = producer.input[0]
        elif reader is not None and reader.op_type == "QuantizeLinear":
            name = reader.output[0]
        shape, kind = self._wiring.shape(name), self._wiring.kind(name)
        if not shape or not kind:
            return 0
        return int(np.prod(shape)) * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)

    def _flops(self, node: onnx.NodeProto) -> int:
        out = int(np.prod(self._wiring.shape(node.output[0]) or (0,)))
        if node.op_type == "Conv":
            return 2 * out * int(np.prod(self._wiring.shape(node.input[1])[1:]))
        if node.op_type in ("MatMul", "Gemm"):
            return 2 * out * (self._wiring.shape(node.input[0]) or (0,))[-1]
        if is_cda(node):
            shape = self._wiring.shape(node.input[0])
            return 20 * shape[1] ** 2 * (shape[2] // 3) if len(shape) == 3 else 0
        return 0

    def _is_depthwise(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Conv":
            return False
        return attribute(node, "group", 1) > 1 and self._wiring.shape(node.input[1])[1:2] == (1,)
