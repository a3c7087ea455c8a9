"""Proves that an engine computes in the requested precision: the graph decides it, the layer list shows it.

It looks up every convolution and matrix product of the graph in the engine by its node name, and compares the data
types of the layer that computes it with those of the ONNX graph.
"""

from __future__ import annotations

from collections import Counter

from mutualformer.export.engine.layer_list import Layer
from mutualformer.export.graph.node_types import KIND_OF, KINDS, graph_problems

_GENERATED_KINDS = {"kgen", "Myelin", "runtime_fusion"}


def precision_problems(requested: str, nodes: dict[str, str], layers: list[Layer], tf32: bool = False) -> list[str]:
    """One sentence for everything that contradicts ``requested`` ("fp32", "fp16", "int8"); empty = proven.

    ``layers``: of the built engine. ``tf32``: FP32 nodes may compute in TF32.
    """
    problems, kind = graph_problems(requested, nodes), KIND_OF[requested]
    by_node = _layers_by_node(layers)
    if nodes and not any(name in by_node for name in nodes):  # such a list proves nothing
        problems.append(
            f"none of the engine's {len(layers)} layers names a node of the graph, so its precision is not proven; is "
            "this a spelling of the layer list that export/engine/layer_list.py does not know?"
        )
    else:
        problems += _fallen_back(nodes, layers, by_node)
    problems += [] if tf32 else _tf32(layers)
    if requested != "fp32" and not any(kind in (*layer.inputs, *layer.outputs) for layer in layers):
        problems.append(f"no engine layer reads or writes {kind}")
    return problems


def _tf32(layers: list[Layer]) -> list[str]:
    """Layers whose kernel, by its name, multiplies in TF32: 10 bits of mantissa instead of 23."""
    names = [layer.name for layer in layers if "tf32" in layer.tactic.lower()]
    return [f"{len(names)} layers compute in TF32 ({', '.join(names[:3])})"] if names else []


def _computed_in(layers: list[Layer]) -> set[str]:
    """The types in which ``layers``, all those of one node, may compute its products: their input types.

    Code generated around several operators proves less: it may cast inside, or only rescale the result of another
    layer. It counts only where no other layer has the node, and then with its input and output types.
    """
    plain = [layer for layer in layers if layer.kind not in _GENERATED_KINDS]
    if plain:
        return {kind for layer in plain for kind in layer.inputs}
    return {kind for layer in layers for kind in (*layer.inputs, *layer.outputs)}


def _fallen_back(nodes: dict[str, str], layers: list[Layer], by_node: dict[str, list[Layer]]) -> list[str]:
    """Nodes whose layer computes in another type than the graph has, or that no layer accounts for."""
    problems = []
    for name, kind in nodes.items():
        types = _computed_in(by_node.get(name, []))
        if kind in KINDS and name in by_node and kind not in types:
            problems.append(
                f"node {name} is {kind} in the graph but {'/'.join(sorted(types)) or 'untyped'} in the engine"
            )
    for kind in ("Half", "Int8"):
        unnamed = [name for name, value in nodes.items() if value == kind and name not in by_node]
        anonymous = [layer for layer in layers if not layer.onnx_nodes and kind in (*layer.inputs, *layer.outputs)]
        if len(unnamed) > len(anonymous):
            problems.append(
                f"{len(unnamed)} {kind} nodes are named by no engine layer ({', '.join(unnamed[:3])}), and only "
                f"{len(anonymous)} layers without a name of the graph compute in {kind}"
            )
    return problems


def node_counts(nodes: dict[str, str], layers: list[Layer]) -> dict[str, int]:
    """How many convolutions, products and CDA nodes the engine computes in each type; "unnamed": those that no layer
    names, because they were fused or folded under another name."""
    by_node = _layers_by_node(layers)
    counts = Counter(kind if name in by_node else "unnamed" for name, kind in nodes.items())
    return {"unnamed": 0, **dict(sorted(counts.items()))}


def _layers_by_node(layers: list[Layer]) -> dict[str, list[Layer]]:
    by_node: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.onnx_nodes:
            by_node.setdefault(name, []).append(layer)
    return by_node
