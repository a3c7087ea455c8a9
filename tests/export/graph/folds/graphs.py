"""Small graphs as text, run by ONNX's reference evaluator in the precision that they are written in."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from mutualformer.export.graph.folds.wiring import Wiring
from mutualformer.runtime.benchmarks.frame_cost import Device

# Launches are dear and all else is free, or the other way round: what pays on one never pays on the other.
FOLDING = Device("x", "folds everything", "0.0", 1e6, 1e6, 1e6, 1, 1, 1, 100.0, 100.0, 100.0)
WEAK = Device("y", "folds nothing denser", "0.0", 1e-6, 1e-6, 1e6, 1, 1, 1, 1e-9, 1e-9, 1e-9)


def model(text: str, constants: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """The graph of ``text`` (opset 20) with its constants."""
    parsed = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]>\n{text}')
    parsed.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(parsed, full_check=True)
    return parsed


def run(graph: onnx.ModelProto, **inputs: NDArray[Any]) -> NDArray[Any]:
    """The graph's one answer."""
    return np.asarray(ReferenceEvaluator(graph).run(None, inputs)[0])


def operators(graph: onnx.ModelProto) -> list[str]:
    """Operators in order."""
    return [node.op_type for node in graph.graph.node]


def finished(wiring: Wiring) -> onnx.ModelProto:
    """The folded model, found valid."""
    done = wiring.finished()
    onnx.checker.check_model(done, full_check=True)
    return done
