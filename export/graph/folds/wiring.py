"""A graph under rewriting: which node writes a value, which nodes read it, and the value's shape and type."""

from __future__ import annotations

import copy
from typing import Any, Union

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mutualformer.export.graph.tidy import cut_dead_ends, sort
from mutualformer.export.graph.values import inferred

Array = NDArray[Any]
Pattern = Union[str, tuple["Pattern", ...]]  # noqa: UP007 (names itself)
_COMMUTATIVE = ("Add", "Mul")


class Wiring:
    """A copy of a model under rewriting. Values are known by name; shapes are those of batch 1.

    Call :meth:`index` after adding or rewiring nodes: readers and producers are those of the last call.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = copy.deepcopy(model)
        self.graph = self.model.graph
        self.outputs = {value.name for value in self.graph.output}
        self._shapes, self._kinds = _known(model)
        self._added = 0
        self.index()

    def index(self) -> None:
        """Find producers, readers and constants again."""
        self._tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producer = {name: node for node in self.graph.node for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def constant(self, name: str) -> Array | None:
        """Value of an initialiser, None for anything else."""
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value for batch 1; empty where it is a scalar or not known."""
        tensor = self._tensors.get(name)
        return tuple(tensor.dims) if tensor is not None else self._shapes.get(name, ())

    def kind(self, name: str) -> int:
        """Element type of a value of the original graph, as in ``onnx.TensorProto``; 0 where it is not known."""
        tensor = self._tensors.get(name)
        return tensor.data_type if tensor is not None else self._kinds.get(name, 0)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Nodes that read a value, one entry for each input."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a value, and once; None otherwise, and for an output of the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node of one output and return the output's name."""
        self._added += 1
        name = f"folded_{op}_{self._added}"
        self.graph.node.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def add_constant(self, value: Array) -> str:
        """Append an initialiser and return its name."""
        self._added += 1
        name = f"folded_constant_{self._added}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def rewire(self, old: str, new: str) -> None:
        """Let every node that reads ``old`` read ``new``."""
        for node in self.graph.node:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new

    def match(self, name: str, pattern: Pattern, found: dict[str, str]) -> dict[str, str] | None:
        """The value that each word of ``pattern`` stands for, None where ``name`` is not computed in that way.

        A word stands for one value wherever it appears. A tuple is (operator, inputs…), or ("word=operator", …) to
        give the value that it writes a word too; additions and products match in either order.
        """
        if isinstance(pattern, str):
            return found if found.setdefault(pattern, name) == name else None
        word, _, op = str(pattern[0]).rpartition("=")
        node = self.producer.get(name)
        if node is None or node.op_type != op or (word and found.get(word, name) != name):
            return None
        parts = list(pattern[1:])
        for inputs in (list(node.input), list(node.input)[::-1]) if op in _COMMUTATIVE else (list(node.input),):
            trial: dict[str, str] | None = {**found, **({word: name} if word else {})}
            for value, part in zip(inputs, parts, strict=False):
                trial = None if trial is None else self.match(value, part, trial)
            if trial is not None and len(inputs) >= len(parts):
                return trial
        return None

    def finished(self) -> onnx.ModelProto:
        """The model, in topological order again, without nodes and constants that nothing reads."""
        sort(self.model)
        cut_dead_ends(self.graph)
        del self.graph.value_info[:]
        return self.model


def _known(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes for batch 1 and element types of all values for which they are known."""
    single = copy.deepcopy(model)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].dim_value:
            dimensions[0].dim_value = 1
    types = inferred(single, data_prop=True)
    sizes = {name: tuple(dimension.dim_value for dimension in value.shape.dim) for name, value in types.items()}
    shapes = {name: shape for name, shape in sizes.items() if all(shape)}
    return shapes, {name: value.elem_type for name, value in types.items()}
