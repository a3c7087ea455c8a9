"""The CUDA driver as the checks use it: the sessions' binding, and calls that only checks make."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from mutualformer.runtime.session.cuda import Driver

_OLD_CREATE = 13  # CUDA releases before it create contexts from flags alone


class CheckDriver(Driver):
    """GPU 0. Handles are those of cuda-bindings, addresses plain integers; every method raises CudaError."""

    def __init__(self, cuda: ModuleType | None = None) -> None:
        """Raises ModuleNotFoundError without cuda-bindings, CudaError without a driver or a GPU."""
        super().__init__(cuda or importlib.import_module("cuda.bindings.driver"))

    def version(self) -> tuple[int, int]:
        """The newest CUDA this driver serves, e.g. (12, 6)."""
        number = int(self.call("cuDriverGetVersion"))
        return number // 1000, number % 1000 // 10

    @contextlib.contextmanager
    def new_context(self) -> Iterator[None]:
        """A context of its own, current on this thread inside the ``with`` and destroyed afterwards."""
        old = hasattr(self.cuda, "CUDA_VERSION") and self.cuda.CUDA_VERSION < 1000 * _OLD_CREATE
        context = self.call("cuCtxCreate", *(() if old else (None,)), 0, 0)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent")
            self.call("cuCtxDestroy", context)

    def wait(self) -> None:
        """Wait for all work of the current context. Raises CudaError also for the failure of an earlier launch."""
        self.call("cuCtxSynchronize")

    @contextlib.contextmanager
    def events(self) -> Iterator[tuple[Any, Any]]:
        """Two events, destroyed afterwards."""
        pair = self.call("cuEventCreate", 0), self.call("cuEventCreate", 0)
        try:
            yield pair
        finally:
            for event in pair:
                self.call("cuEventDestroy", event)

    @contextlib.contextmanager
    def recorded(self, stream: Any, work: Callable[[], None]) -> Iterator[Any]:
        """What ``work`` queues on ``stream`` as an executable graph, destroyed afterwards."""
        graph = self.capture(stream, work)
        try:
            yield graph
        finally:
            self.destroy_graph(graph)
