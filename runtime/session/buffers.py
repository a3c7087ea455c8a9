"""The resources of one call in flight: execution context, stream, page-locked and device memory, CUDA graph.

They are allocated once and reused for every call. All methods require that the driver's context is current.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.session.cuda import CudaError, Driver

log = logging.getLogger("mutualformer")


@dataclass(frozen=True)
class Binding:
    """One input or output of an engine: numpy dtype name, shape without the batch."""

    name: str
    dtype: str
    row: tuple[int, ...]
    is_input: bool


@dataclass
class Tensor:
    """A binding's memory for the largest batch: ``host`` is page-locked, ``device`` an allocation.

    ``device`` is None where the GPU works on ``host`` itself, because both share one memory.
    """

    binding: Binding
    host: NDArray[np.uint8]
    device: Any

    def view(self, batch: int) -> NDArray[Any]:
        """The first ``batch`` rows of the host buffer, without copying."""
        dtype, shape = np.dtype(self.binding.dtype), (batch, *self.binding.row)
        size = int(np.prod(shape)) * dtype.itemsize
        return self.host[:size].view(dtype).reshape(shape)


class Slot:
    """One call in flight. Two slots let the copies of one call overlap the kernels of the other.

    ``new_context`` makes a TensorRT execution context of its own. ``graphs``: record the whole call, copies and
    kernels, as a CUDA graph the second time that a batch comes, and launch that from then on.

    Raises RuntimeError when TensorRT refuses an address, after freeing what was allocated.
    """

    def __init__(
        self,
        driver: Driver,
        new_context: Callable[[], Any],
        bindings: list[Binding],
        batch: int,
        graphs: bool = False,
    ) -> None:
        self._driver, self._graphs = driver, graphs and driver.has_graphs
        self.context: Any = None  # referenced only here, so that no traceback keeps it alive after its engine is gone
        self.tensors: dict[str, Tensor] = {}
        self.batch = 0  # of the call in flight; 0 = free
        self._shaped = 0  # the batch that the context's shapes are set to
        self._graph: Any = None  # of that batch
        self.stream = driver.create_stream()
        try:
            self.context = new_context()
            for binding in bindings:
                size = max(1, batch * int(np.prod(binding.row)) * np.dtype(binding.dtype).itemsize)
                host = driver.allocate_host(size)
                tensor = self.tensors[binding.name] = Tensor(binding, host, None)
                if driver.shares_memory:
                    address = driver.device_address(host)
                else:
                    tensor.device = driver.allocate(size)
                    address = int(tensor.device)
                if not self.context.set_tensor_address(binding.name, address):
                    raise RuntimeError(f"TensorRT refused the address of tensor {binding.name!r}")
        except BaseException:
            self.free()
            raise

    def submit(self, inputs: dict[str, NDArray[Any]]) -> None:
        """Copy in, run, copy out, all queued on this slot's stream; returns at once. Allocates nothing.

        Where the GPU shares the host's memory it queues no copies.

        Raises RuntimeError, CudaError; then nothing of the call is pending.
        """
        batch = next(iter(inputs.values())).shape[0]
        try:
            for name, value in inputs.items():
                # Into page-locked memory: copies from there to the GPU are asynchronous.
                np.copyto(self.tensors[name].view(batch), value)
            # A new batch invalidates the recorded graph, which holds addresses and sizes. Its first call is queued by
            # hand, and its second one is recorded.
            if self._shaped != batch:
                self._shape(inputs)
                self._queue(batch)
            elif self._ready_graph(batch):
                self._driver.launch(self._graph, self.stream)
            else:
                self._queue(batch)
        except BaseException:
            self._shaped = 0
            self.drain()
            raise
        self.batch = batch

    def _shape(self, inputs: dict[str, NDArray[Any]]) -> None:
        self._drop_graph()
        for name, value in inputs.items():
            if not self.context.set_input_shape(name, value.shape):
                raise RuntimeError(f"TensorRT refused shape {value.shape} for input {name!r}")
        self._shaped = next(iter(inputs.values())).shape[0]

    def _queue(self, batch: int) -> None:
        tensors = [tensor for tensor in self.tensors.values() if tensor.device is not None]
        for tensor in tensors:
            if tensor.binding.is_input:
                self._driver.copy_in(tensor.device, tensor.view(batch), self.stream)
        if not self.context.execute_async_v3(int(self.stream)):
            raise RuntimeError("TensorRT could not enqueue the engine; its log says why")
        for tensor in tensors:
            if not tensor.binding.is_input:
                self._driver.copy_out(tensor.view(batch), tensor.device, self.stream)

    def _ready_graph(self, batch: int) -> bool:
        """Whether there is a graph of this batch; records it if there is none yet.

        Not called for the first call of a shape: TensorRT updates its own state there, which must not be captured.
        """
        if self._graphs and self._graph is None:
            try:
                self._graph = self._driver.capture(self.stream, lambda: self._queue(batch))
            except (CudaError, RuntimeError) as error:
                # A graph is an optimisation: without it the same kernels run, launched one by one. It is not tried
                # again, because capture would fail on every frame.
                self._graphs = False
                log.warning("no CUDA graph of this engine, its kernels are launched one by one: %s", error)
        return self._graph is not None

    def collect(self) -> dict[str, NDArray[Any]]:
        """Wait for the call in flight and return copies of its outputs, so that the next call cannot change them."""
        # The slot counts as free even where waiting fails.
        batch, self.batch = self.batch, 0
        self._driver.synchronize(self.stream)
        return {name: tensor.view(batch).copy() for name, tensor in self.tensors.items() if not tensor.binding.is_input}

    def drain(self) -> None:
        """Wait until nothing is queued, even on a failed stream: no copy may outlive its buffer."""
        with contextlib.suppress(Exception):
            self._driver.synchronize(self.stream)
        self.batch = 0

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self.drain()
            graph, self._graph = self._graph, None
            self._driver.destroy_graph(graph)

    def free(self) -> None:
        """Release graph, execution context, memory and stream, in this order. Calling it twice is harmless."""
        if self.stream is None:
            return
        self.drain()
        self._drop_graph()
        self.context = None
        for tensor in self.tensors.values():
            if tensor.device is not None:
                self._driver.free(tensor.device)
            self._driver.free_host(tensor.host)
        self.tensors.clear()
        # Set to None before it is destroyed, so a second call of free finds nothing to do even if this one raises.
        stream, self.stream = self.stream, None
        self._driver.destroy_stream(stream)
