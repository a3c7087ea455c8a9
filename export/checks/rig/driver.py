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
        self.cuda: Any = cuda or importlib.import_module("cuda.bindings.driver")
        super().__init__(self.cuda)
        self.primary = int(self._primary)

    # ---- The device ----

    def attribute(self, name: str) -> int:
        """A device attribute, e.g. "MULTIPROCESSOR_COUNT"."""
        return int(
            self.call("cuDeviceGetAttribute", getattr(self.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), 0)
        )

    def version(self) -> tuple[int, int]:
        """The newest CUDA this driver serves, e.g. (12, 6)."""
        number = int(self.call("cuDriverGetVersion"))
        return number // 1000, number % 1000 // 10

    # ---- Contexts ----

    def create_context(self) -> int:
        """Create a context; it is current on no thread."""
        old = hasattr(self.cuda, "CUDA_VERSION") and self.cuda.CUDA_VERSION < 1000 * _OLD_CREATE
        context = self.call("cuCtxCreate", *(() if old else (None,)), 0, 0)
        self.call("cuCtxPopCurrent")
        return int(context)

    def destroy_context(self, context: int) -> None:
        """Destroy a context that create_context made, with its memory and modules."""
        self.call("cuCtxDestroy", context)

    @contextlib.contextmanager
    def entered(self, context: int) -> Iterator[None]:
        """Make ``context`` current on this thread inside the ``with``."""
        self.call("cuCtxPushCurrent", context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent")

    def wait(self) -> None:
        """Wait for all work of the current context. Raises CudaError also for the failure of an earlier launch."""
        self.call("cuCtxSynchronize")

    # ---- Memory ----

    def fill(self, address: int, byte: int, size: int) -> None:
        """Set ``size`` bytes from ``address`` to ``byte`` (0 … 255)."""
        self.call("cuMemsetD8", address, byte, size)

    def write(self, address: int, host: int, size: int) -> None:
        """Copy ``size`` bytes from host address ``host`` to device ``address``; ``host`` may change afterwards."""
        self.call("cuMemcpyHtoD", address, host, size)

    def read(self, host: int, address: int, size: int) -> None:
        """Copy ``size`` bytes from device ``address`` to host address ``host``. Synchronise with its writer first."""
        self.call("cuMemcpyDtoH", host, address, size)

    # ---- Modules and functions ----

    def load_module(self, image: bytes) -> Any:
        """Load a cubin or PTX into the current context."""
        return self.call("cuModuleLoadData", image)

    def function_attribute(self, function: Any, name: str) -> int:
        """A function attribute, e.g. "NUM_REGS"."""
        return int(
            self.call(
                "cuFuncGetAttribute", getattr(self.cuda.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}"), function
            )
        )

    def allow_shared(self, function: Any, size: int) -> None:
        """Let ``function`` use ``size`` bytes of dynamic shared memory, beyond the default 48 KiB."""
        kind = self.cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.call("cuFuncSetAttribute", function, kind, size)

    # ---- Events and graphs ----

    @contextlib.contextmanager
    def events(self) -> Iterator[tuple[Any, Any]]:
        """Two events, destroyed afterwards."""
        pair = self.call("cuEventCreate", 0), self.call("cuEventCreate", 0)
        try:
            yield pair
        finally:
            for event in pair:
                self.call("cuEventDestroy", event)

    def elapsed_ms(self, first: Any, last: Any) -> float:
        """Milliseconds between two recorded events, waiting for the second."""
        self.call("cuEventSynchronize", last)
        return float(self.call("cuEventElapsedTime", first, last))

    @contextlib.contextmanager
    def recorded(self, stream: Any, work: Callable[[], None]) -> Iterator[Any]:
        """What ``work`` queues on ``stream`` as an executable graph, destroyed afterwards."""
        graph = self.capture(stream, work)
        try:
            yield graph
        finally:
            self.destroy_graph(graph)
