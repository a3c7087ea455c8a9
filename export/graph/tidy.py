"""Leave in the graph only what computes: constants folded, dead ends cut, names and opsets in order."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from mutualformer.plugins.attributes import DOMAIN, OPSET_VERSION


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, drop identities and unreachable nodes, sort topologically, fix opset imports.

    Works on a graph without local functions; attach them afterwards.
    """
    if model.functions:
        raise ValueError("tidy() wants the graph before its functions are attached")
    graph = gs.import_onnx(model)
    _resize_by_scale(graph)
    graph.fold_constants(error_ok=False).cleanup(remove_unused_graph_inputs=False).toposort()
    for node in graph.nodes:
        node.name = node.name or f"{node.op}_{node.outputs[0].name}"
    tidied: onnx.ModelProto = gs.export_onnx(graph)
    tidied.ir_version = model.ir_version
    standard = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del tidied.opset_import[:]
    tidied.opset_import.append(onnx.helper.make_opsetid("", standard))
    if any(node.domain == DOMAIN for node in tidied.graph.node):
        tidied.opset_import.append(onnx.helper.make_opsetid(DOMAIN, OPSET_VERSION))
    del tidied.graph.value_info[:]
    tidied.producer_name, tidied.producer_version = "mutualformer", "1"
    return tidied


def sort(model: onnx.ModelProto) -> onnx.ModelProto:
    """Only order the nodes topologically; some rewriters append theirs at the end."""
    order = {node.name: i for i, node in enumerate(gs.import_onnx(model).toposort().nodes)}
    nodes = sorted(model.graph.node, key=lambda node: order[node.name])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _resize_by_scale(graph: gs.Graph) -> None:
    """Resize by constant scales instead of sizes computed from Shape: with a dynamic batch only they stay constant."""
    for node in graph.nodes:
        if node.op != "Resize" or len(node.inputs) < 4:
            continue
        before, after = node.inputs[0].shape, node.outputs[0].shape
        if before is None or after is None or not all(isinstance(n, int) for n in (*before[1:], *after[1:])):
            continue
        scales = np.array([1.0] + [a / b for a, b in zip(after[1:], before[1:], strict=True)], np.float32)
        exact = [int(np.floor(b * s)) for b, s in zip(before[1:], scales[1:], strict=True)] == list(after[1:])
        if exact:  # otherwise rounding could change the output's size
            node.inputs = [node.inputs[0], gs.Variable.empty(), gs.Constant(f"{node.name}_scales", scales)]
