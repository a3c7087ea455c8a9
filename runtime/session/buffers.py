"""Pinned host memory, device memory and a stream for one call in flight: allocated once, reused for every call."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Tensor:
    """One graph input or output: ``host`` is page-locked, ``device`` an allocation, both ``capacity`` bytes."""

    name: str
    dtype: np.dtype[Any]
    row: tuple[int, ...]
    is_input: bool
    host: NDArray[np.uint8]
    device: Any

    def view(self, batch: int) -> NDArray[Any]:
        """The first ``batch`` rows of the host buffer, without copying."""
        shape = (batch, *self.row)
        size = int(np.prod(shape)) * self.dtype.itemsize
        return self.host[:size].view(self.dtype).reshape(shape)


class Slot:
    """Everything one call in flight owns: an execution context, a stream, and buffers for the largest batch.

    ``cuda``: the ``pycuda.driver`` module. Two slots let the copies of one call overlap the kernels of the other.
    """

    def __init__(self, cuda: ModuleType, context: Any, specs: list[tuple[str, str, tuple[int, ...], bool]], batch: int):
        self._cuda = cuda
        self.context = context
        self.stream = cuda.Stream()
        self.tensors: dict[str, Tensor] = {}
        self.batch = 0  # of the call in flight; 0 = free
        self._shaped = 0
        for name, dtype_name, row, is_input in specs:
            dtype = np.dtype(dtype_name)
            capacity = max(1, batch * int(np.prod(row)) * dtype.itemsize)
            host = cuda.pagelocked_empty((capacity,), np.uint8)
            device = cuda.mem_alloc(capacity)
            self.tensors[name] = Tensor(name, dtype, row, is_input, host, device)
            if not context.set_tensor_address(name, int(device)):
                raise RuntimeError(f"TensorRT refused the address of tensor {name!r}")

    def submit(self, inputs: dict[str, NDArray[Any]]) -> None:
        """Copy in, run, copy out, all queued on this slot's stream; returns at once. Allocates nothing."""
        self.batch = next(iter(inputs.values())).shape[0]
        for name, value in inputs.items():
            tensor = self.tensors[name]
            view = tensor.view(self.batch)
            np.copyto(view, value)
            if self._shaped != self.batch and not self.context.set_input_shape(name, view.shape):
                raise RuntimeError(f"TensorRT refused shape {view.shape} for input {name!r}")
            self._cuda.memcpy_htod_async(tensor.device, view, self.stream)
        self._shaped = self.batch
        if not self.context.execute_async_v3(self.stream.handle):
            raise RuntimeError("TensorRT could not enqueue the engine; its log says why")
        for tensor in self.tensors.values():
            if not tensor.is_input:
                self._cuda.memcpy_dtoh_async(tensor.view(self.batch), tensor.device, self.stream)

    def collect(self) -> dict[str, NDArray[Any]]:
        """Wait for the call in flight and return copies of its outputs, so that the next call cannot change them."""
        self.stream.synchronize()
        batch, self.batch = self.batch, 0
        return {t.name: t.view(batch).copy() for t in self.tensors.values() if not t.is_input}

    def free(self) -> None:
        """Give the device memory back."""
        for tensor in self.tensors.values():
            tensor.device.free()
        self.tensors.clear()
