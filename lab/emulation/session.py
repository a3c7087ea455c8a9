"""Runs our exported ONNX graphs on PyTorch tensors, every value rounded to the type that the graph gives it.

ONNX Runtime has no float16 convolution on a CPU: it computes in float32 from cast to cast, and what it says of an FP16
file is too good. Here every operator computes in float32 and rounds its result to float16 where the graph says
float16: products of halves with float32 accumulation, which is what tensor cores do. CDA goes through ``train/cda.py``
in float32 as its kernels do, rounding what they store. Pessimistic in one respect: a GPU's fused layers (convolution +
residual + ReLU) round once, this rounds after each node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from lab.emulation.operators import OPERATORS
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda, node_attributes
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256
from mutualformer.runtime.session import Session, existing_file
from mutualformer.train.cda import cross_diffusion_attention

_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.BOOL: torch.bool,
}
Watch = Callable[[onnx.NodeProto, list[Any], list[Tensor]], list[Tensor] | None]


class Interpreter:
    """One graph, ready to run; batch as in the feeds. Raises ExportError for an operator that no export of ours has."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants = {t.name: _tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
        self.outputs = [output.name for output in model.graph.output]
        self._attributes = [_attributes(node) for node in model.graph.node]
        unknown = sorted({n.op_type for n in model.graph.node if not _known(n)})
        if unknown:
            raise ExportError(f"the graph has operators that the interpreter does not know: {', '.join(unknown)}")

    def run(
        self, feeds: Mapping[str, Tensor], wanted: Collection[str] = (), watch: Watch | None = None
    ) -> dict[str, Tensor]:
        """The graph's outputs, or the values named ``wanted``.

        ``watch(node, inputs, outputs)`` is called after every node, and may return outputs to go on with instead.
        """
        names = set(wanted or self.outputs)
        left = Counter(name for node in self.graph.node for name in node.input)
        values: dict[str, Tensor] = dict(feeds)
        answers = {name: values[name] for name in names & set(values)}
        with torch.inference_mode():
            for node, attributes in zip(self.graph.node, self._attributes, strict=True):
                inputs = [self._value(values, name) if name else None for name in node.input]
                outputs = evaluate(node, inputs, attributes)
                if watch is not None:
                    outputs = watch(node, inputs, outputs) or outputs
                for name in node.input:
                    left[name] -= 1
                    if not left[name]:
                        values.pop(name, None)
                for name, value in zip(node.output, outputs, strict=True):
                    if left[name]:
                        values[name] = value
                    if name in names:
                        answers[name] = value
                if len(answers) == len(names):
                    break
        return answers

    def _value(self, values: dict[str, Tensor], name: str) -> Tensor:
        return values[name] if name in values else self.constants[name]


def evaluate(node: onnx.NodeProto, inputs: list[Any], attributes: dict[str, Any]) -> list[Tensor]:
    """One node: float32 arithmetic, results in the type of the first floating input."""
    kind = node.op_type
    if kind == "Cast":
        return [inputs[0].to(_TYPES[attributes["to"]])]
    if kind == "QuantizeLinear":
        scaled = inputs[0].float() / _along(inputs[1].float(), inputs[0], attributes)
        return [torch.clamp(torch.round(scaled), -128, 127).to(torch.int8)]
    if kind == "DequantizeLinear":
        scale = _along(inputs[1].float(), inputs[0], attributes)
        return [(inputs[0].float() * scale).to(inputs[1].dtype)]
    floating = next((x.dtype for x in inputs if x is not None and x.is_floating_point()), None)
    wide = [x.float() if x is not None and x.dtype == torch.float16 else x for x in inputs]
    if is_cda(node):
        assert wide[0] is not None
        assert wide[1] is not None
        result: Any = cross_diffusion_attention(wide[0], wide[1], node_attributes(node))
    else:
        result = OPERATORS[kind](wide, attributes)
    outputs = list(result) if isinstance(result, list | tuple) else [result]
    return [x.to(floating) if floating == torch.float16 and x.is_floating_point() else x for x in outputs]


def _along(scale: Tensor, x: Tensor, attributes: dict[str, Any]) -> Tensor:
    """A per-channel scale shaped to multiply ``x`` along the node's axis."""
    if scale.numel() == 1:
        return scale
    shape = [1] * x.dim()
    shape[attributes.get("axis", 1)] = -1
    return scale.reshape(shape)


def _known(node: onnx.NodeProto) -> bool:
    return is_cda(node) or node.op_type in ("Cast", "QuantizeLinear", "DequantizeLinear") or node.op_type in OPERATORS


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: protobuf's own memory is read-only


class EmulatedSession(Session):
    """An ONNX file of ours in the interpreter, behind the runtime's Session interface."""

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path, "ONNX file")
        model = onnx.load(path)
        self.contract = Contract.from_props({prop.key: prop.value for prop in model.metadata_props})
        self.device = "cpu"
        self._interpreter = Interpreter(model)

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = self._interpreter.run({name: torch.from_numpy(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def describe(self) -> dict[str, Any]:
        """As Session.describe; the backend says that every operator rounds to the graph's type."""
        return {
            "file": self.path.name,
            "sha256": sha256(self.path),
            "backend": f"emulated: every operator rounds to the graph's type, torch {torch.__version__}",
            "device": self.device,
            "threads": torch.get_num_threads(),
            "precision": self.contract.precision,
        }
