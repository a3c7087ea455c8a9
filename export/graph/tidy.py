"""Leaves only what computes in a graph: folds constants, cuts dead ends, and puts names and opsets in order.

It needs the onnx package alone, so that a device without PyTorch can rewrite a model too.
"""

from __future__ import annotations

import copy
from graphlib import TopologicalSorter

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from mutualformer.plugins.attributes import DOMAIN, OPSET_VERSION

# Q/DQ pairs on constants tell a builder the precision; a random value is no constant.
_NEVER_FOLDED = ("QuantizeLinear", "DequantizeLinear", "RandomNormal", "RandomUniform")


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants folded, identities and unreachable nodes dropped, nodes sorted, opset imports fixed.

    Works on a graph without local functions; attach them afterwards.
    """
    tidied = copy.deepcopy(model)
    sort(tidied)
    # Before folding, because it makes the Shape arithmetic around a Resize dead, which the later steps then remove.
    _resize_by_scale(tidied)
    _fold(tidied)
    _skip_identities(tidied.graph)
    cut_dead_ends(tidied.graph)
    sort(tidied)
    for node in tidied.graph.node:
        node.name = node.name or f"{node.op_type}_{node.output[0]}"
        del node.metadata_props[:]  # positions in the Python source: a megabyte, with paths of the exporting machine
    standard = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del tidied.opset_import[:]
    tidied.opset_import.append(onnx.helper.make_opsetid("", standard))
    if any(node.domain == DOMAIN for node in tidied.graph.node):
        tidied.opset_import.append(onnx.helper.make_opsetid(DOMAIN, OPSET_VERSION))
    del tidied.graph.value_info[:], tidied.graph.metadata_props[:]  # the tracer's notes take 100 KB in every file
    tidied.producer_name, tidied.producer_version = "mutualformer", "1"
    return tidied


def sort(model: onnx.ModelProto) -> onnx.ModelProto:
    """Order the nodes topologically, in place: rewriters append theirs at the end. Raises ValueError on a cycle."""
    nodes = list(model.graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    before = {index: [maker[name] for name in node.input if name in maker] for index, node in enumerate(nodes)}
    order = [nodes[index] for index in TopologicalSorter(before).static_order()]
    del model.graph.node[:]
    model.graph.node.extend(order)
    return model


def _resize_by_scale(model: onnx.ModelProto) -> None:
    """Resize by constant scales instead of sizes: with a dynamic batch the sizes are computed from Shape."""
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        before, after = shapes.get(node.input[0], [])[1:], shapes.get(node.output[0], [])[1:]
        if not before or len(before) != len(after) or not all((*before, *after)):
            continue
        scales = np.array([1.0] + [a / b for a, b in zip(after, before, strict=True)], np.float32)
        if [int(np.floor(b * s)) for b, s in zip(before, scales[1:], strict=True)] == after:  # else a size may change
            graph.initializer.append(numpy_helper.from_array(scales, f"{node.output[0]}_scales"))
            node.input[:] = [node.input[0], "", f"{node.output[0]}_scales"]


def _fold(model: onnx.ModelProto) -> None:
    """Replace nodes that depend on constants alone by their values; the nodes must be in topological order."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    folded, kept = [], []
    for node in graph.node:
        # A node that reads nothing but constants is constant itself; topological order makes one pass enough.
        known = all(name in constants for name in node.input if name)
        if known and node.domain in ("", "ai.onnx") and node.op_type not in _NEVER_FOLDED:
            folded.append(node)
            constants.update(node.output)
        else:
            kept.append(node)
    if not folded:
        return
    # Only values that somebody still reads are computed and stored.
    read = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    results = [name for node in folded for name in node.output if name in read]
    part = onnx.helper.make_graph(folded, "constants", [], [onnx.ValueInfoProto(name=name) for name in results])
    used = {name for node in folded for name in node.input}
    part.initializer.extend(tensor for tensor in graph.initializer if tensor.name in used)
    program = onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    # ONNX's own evaluator in NumPy: the values do not depend on a runtime's optimisations.
    values = ReferenceEvaluator(program).run(results, {})
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in zip(results, values, strict=True)
    )
    del graph.node[:]
    graph.node.extend(kept)


def _skip_identities(graph: onnx.GraphProto) -> None:
    """Drop every Identity that only gives a value a second name; the graph's inputs and outputs keep theirs."""
    answers = {output.name for output in graph.output}
    made = {name for node in graph.node for name in node.output} - answers
    called: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Identity":
            continue
        source, copy = called.get(node.input[0], node.input[0]), node.output[0]
        if copy not in answers:
            called[copy] = source
        elif source in made:  # whatever makes the value writes the output itself
            called |= {name: copy for name, other in called.items() if other == source} | {source: copy}
            made.remove(source)
    kept = [
        node for node in graph.node if node.op_type != "Identity" or node.output[0] not in {*called, *called.values()}
    ]
    for node in kept:
        for names in (node.input, node.output):
            names[:] = [called.get(name, name) for name in names]
    del graph.node[:]
    graph.node.extend(kept)


def live_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in order; the graph's nodes must be in topological order."""
    needed, live = {output.name for output in graph.output}, []
    # Backwards, so that a node is judged after all of its readers.
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            live.append(node)
            needed.update(node.input)
    return live[::-1]


def cut_dead_ends(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that no output depends on; the nodes must be in topological order."""
    kept = live_nodes(graph)
    read = {output.name for output in graph.output} | {name for node in kept for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)
