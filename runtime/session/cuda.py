"""The CUDA driver calls of an engine session, through ``cuda-bindings``.

The primary context of GPU 0, which TensorRT uses too, is retained once and for the life of the process: releasing it
while an engine of this or another session is alive would free that engine's memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import ModelError
from mutualformer.extras import missing

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream


class CudaError(ModelError, RuntimeError):
    """CUDA cannot be used, or a driver call failed: names the call and the driver's answer."""


class Driver:
    """GPU 0. Every method except the constructor requires that :meth:`context` is entered on the calling thread.

    ``gpu``: the device's name. ``capability``: its compute capability, e.g. "8.7". Memory, streams and graphs are
    handles of cuda-bindings, which convert to int. Every method raises CudaError with the driver's own error name.
    """

    package = "cuda-bindings"

    def __init__(self, cuda: ModuleType) -> None:
        """``cuda``: the module ``cuda.bindings.driver``, whose functions return an error code first."""
        self._cuda = cuda
        self.call("cuInit", 0)
        if self.call("cuDeviceGetCount") < 1:
            raise CudaError("this machine has no NVIDIA GPU")
        device = self.call("cuDeviceGet", 0)
        self.gpu = self.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(errors="replace")
        attribute = cuda.CUdevice_attribute
        names = ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR", "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR")
        self.capability = ".".join(str(self.call("cuDeviceGetAttribute", getattr(attribute, n), device)) for n in names)
        self._primary = self.call("cuDevicePrimaryCtxRetain", device)

    def call(self, name: str, *arguments: Any) -> Any:
        """Make one driver call; returns its value, None where it has none."""
        result, *values = getattr(self._cuda, name)(*arguments)
        self.check(name, result)
        return values[0] if values else None

    @staticmethod
    def check(name: str, result: Any) -> None:
        """Raise CudaError unless ``result``, the answer of call ``name``, means success."""
        if int(result) != 0:
            raise CudaError(f"{name} failed: {getattr(result, 'name', result)}")

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Make the primary context current on this thread; afterwards the previous one is current again."""
        self.call("cuCtxPushCurrent", self._primary)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent")

    def allocate(self, size: int) -> Any:
        """Allocate ``size`` bytes of device memory; :meth:`free` gives them back."""
        return self.call("cuMemAlloc", size)

    def free(self, memory: Any) -> None:
        """Free device memory that no queued work uses any more."""
        self.call("cuMemFree", memory)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Allocate ``size`` bytes of page-locked host memory. The array is a view: :meth:`free_host` frees it."""
        pointer = int(self.call("cuMemHostAlloc", size, 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Free page-locked memory; the array must not be touched afterwards."""
        self.call("cuMemFreeHost", memory.ctypes.data)

    def create_stream(self) -> Any:
        """Create a stream that does not wait for the legacy default stream."""
        return self.call("cuStreamCreate", _NON_BLOCKING)

    def destroy_stream(self, stream: Any) -> None:
        """Destroy a stream; work that is queued on it still runs to its end."""
        self.call("cuStreamDestroy", stream)

    def synchronize(self, stream: Any) -> None:
        """Wait for everything queued on ``stream``. Errors of earlier asynchronous work surface here."""
        self.call("cuStreamSynchronize", stream)

    def copy_in(self, device: Any, host: NDArray[Any], stream: Any) -> None:
        """Queue a copy of all of ``host`` (contiguous, page-locked) to ``device``."""
        self.call("cuMemcpyHtoDAsync", device, host.ctypes.data, host.nbytes, stream)

    def copy_out(self, host: NDArray[Any], device: Any, stream: Any) -> None:
        """Queue a copy from ``device`` that fills ``host``."""
        self.call("cuMemcpyDtoHAsync", host.ctypes.data, device, host.nbytes, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues on ``stream`` as an executable graph; nothing is run.

        The capture mode is thread-local: other threads may allocate memory meanwhile.
        """
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            with contextlib.suppress(CudaError):  # an invalidated capture ends in an error and leaves no graph
                self.call("cuGraphDestroy", self.call("cuStreamEndCapture", stream))
            raise
        graph = self.call("cuStreamEndCapture", stream)
        try:
            return self.call("cuGraphInstantiate", graph, 0)
        finally:
            self.call("cuGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """Queue a whole executable graph."""
        self.call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Destroy an executable graph that is not running."""
        self.call("cuGraphExecDestroy", graph)


@functools.cache
def open_driver() -> Driver:
    """The one driver of this process. Raises CudaError without cuda-bindings, without an NVIDIA driver or a GPU."""
    try:
        return Driver(importlib.import_module("cuda.bindings.driver"))
    except ModuleNotFoundError as error:
        raise CudaError(missing("cuda.bindings")) from error
    except CudaError:
        raise
    except Exception as error:  # cuda-bindings raises its own errors where the driver's library is missing or too old
        raise CudaError(f"CUDA cannot start: {' '.join(str(error).split())}") from error
