"""A stand-in for TensorRT itself: an engine of one CDA node, run by our plugin on whatever driver is there.

Through it the real session (``runtime.session.tensorrt``) is opened, run and closed without TensorRT, and every
destruction is written down: what was alive then, and which CUDA context was current.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.node import Node

VERSION = "0.0 (stand-in)"
SIZE = (8, 12)
"""Height and width of the engine's input."""

_CASE = Case(17, 16, 1)


class Lifetimes:
    """``alive``: how many of each kind of object live; ``problems``: what was destroyed in the wrong order or place."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.alive = {"runtime": 0, "engine": 0, "execution context": 0}
        self.problems: list[str] = []

    def born(self, kind: str) -> None:
        """Count one more living object of ``kind``."""
        self.alive[kind] += 1

    def died(self, kind: str, before: str = "") -> None:
        """``before``: the kind that must not outlive this one."""
        self.alive[kind] -= 1
        if before and self.alive[before]:
            self.problems.append(f"the {kind} was destroyed while {self.alive[before]} {before}(s) still lived")
        if int(self.machine.driver.call("cuCtxGetCurrent")) != int(self.machine.driver.primary):
            self.problems.append(f"the {kind} was destroyed while another CUDA context than the engine's was current")


class _Context:
    """IExecutionContext: copies depth to saliency and runs one CDA node on the caller's stream."""

    def __init__(self, record: Lifetimes) -> None:
        self._record, self._addresses, self._batch = record, dict[str, int](), 0
        self._node = Node(record.machine, _CASE)
        self._node.engine.write(*_CASE.inputs())
        record.born("execution context")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return True

    def execute_async_v3(self, stream: int) -> bool:
        driver, size = self._record.machine.driver, self._batch * SIZE[0] * SIZE[1] * 4
        driver.call("cuMemcpyDtoDAsync", self._addresses["saliency"], self._addresses["depth"], size, stream)
        return self._node.engine.enqueue(stream) == 0

    def __del__(self) -> None:
        self._record.died("execution context")
        self._node.close()


class _Engine:
    """ICudaEngine with the tensors of an SOD model."""

    _TENSORS: ClassVar[dict[str, tuple[str, tuple[int, ...], int]]] = {
        "rgb": ("uint8", (-1, *SIZE, 3), 0),
        "depth": ("float32", (-1, *SIZE), 0),
        "saliency": ("float32", (-1, *SIZE), 1),
    }
    num_io_tensors = len(_TENSORS)

    def __init__(self, record: Lifetimes) -> None:
        self._record = record
        record.born("engine")

    def get_tensor_name(self, index: int) -> str:
        return list(self._TENSORS)[index]

    def get_tensor_dtype(self, name: str) -> str:
        return self._TENSORS[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._TENSORS[name][1]

    def get_tensor_mode(self, name: str) -> int:
        return self._TENSORS[name][2]

    def create_execution_context(self) -> _Context:
        return _Context(self._record)

    def __del__(self) -> None:
        self._record.died("engine", before="execution context")


class _Runtime:
    """IRuntime."""

    def __init__(self, record: Lifetimes) -> None:
        self._record = record
        record.born("runtime")

    def deserialize_cuda_engine(self, _data: bytes) -> _Engine:
        return _Engine(self._record)

    def __del__(self) -> None:
        self._record.died("runtime", before="engine")


class _Logger:
    WARNING = 2

    def __init__(self, _severity: int) -> None: ...


class _TensorIOMode:
    INPUT, OUTPUT = 0, 1


class StandInTensorRT:
    """What ``runtime.session.tensorrt`` uses of the module ``tensorrt``."""

    __version__ = VERSION
    Logger, TensorIOMode, nptype = _Logger, _TensorIOMode, np.dtype

    def __init__(self, record: Lifetimes) -> None:
        self._record = record

    def Runtime(self, _logger: Any) -> _Runtime:
        """``trt.Runtime(logger)``; what it deserialises is written into the same record."""
        return _Runtime(self._record)
