"""The CUDA driver calls of an engine session, through ``cuda-bindings`` or pycuda, whichever is installed.

The primary context of GPU 0, which TensorRT uses too, is retained once and for the life of the process: releasing it
while an engine of this or another session is alive would free that engine's memory. ``MUTUALFORMER_CUDA=pycuda``
prefers pycuda where both packages are installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import ModelError
from mutualformer.extras import missing

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream
_DEVICE_MAP = 2  # CU_MEMHOSTALLOC_DEVICEMAP: kernels may use the memory too


class CudaError(ModelError, RuntimeError):
    """CUDA cannot be used, or a driver call failed: names the call and the driver's answer."""


class Driver:
    """GPU 0. Every method except the constructor requires that :meth:`context` is entered on the calling thread.

    ``gpu``: the device's name. ``capability``: its compute capability, e.g. "8.7". Memory, streams and graphs are
    handles of cuda-bindings, which convert to int. Every method raises CudaError with the driver's own error name.
    ``has_graphs``: whether :meth:`capture` works. ``shares_memory``: whether the GPU is integrated, as a Jetson's: it
    then reads and writes page-locked host memory at :meth:`device_address`, and copies only cost time.
    """

    package, has_graphs, shares_memory = "cuda-bindings", True, False

    def __init__(self, cuda: ModuleType) -> None:
        """``cuda``: the module ``cuda.bindings.driver``, whose functions return an error code first."""
        self.cuda: Any = cuda
        self.call("cuInit", 0)
        if self.call("cuDeviceGetCount") < 1:
            raise CudaError("this machine has no NVIDIA GPU")
        device = self.call("cuDeviceGet", 0)
        self.gpu = self.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(errors="replace")
        # The two numbers decide which cubins run here and whether an engine was built for this GPU.
        names = ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR")
        self.capability = ".".join(str(self.attribute(name)) for name in names)
        self.shares_memory = bool(self.attribute("INTEGRATED"))
        # The primary context is the one that TensorRT, PyTorch and CuPy use in this process: memory of one is visible
        # to the others.
        self.primary = self.call("cuDevicePrimaryCtxRetain", device)

    def attribute(self, name: str) -> int:
        """A device attribute, e.g. "MULTIPROCESSOR_COUNT"."""
        kind = getattr(self.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.call("cuDeviceGetAttribute", kind, 0))

    def call(self, name: str, *arguments: Any) -> Any:
        """Make one driver call; returns its value, None where it has none."""
        result, *values = getattr(self.cuda, name)(*arguments)
        if int(result) != 0:
            raise CudaError(f"{name} failed: {getattr(result, 'name', result)}")
        return values[0] if values else None

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Make the primary context current on this thread; afterwards the previous one is current again."""
        # Push and pop, not set: the caller may have another context current, and gets it back.
        self.call("cuCtxPushCurrent", self.primary)
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
        # Page-locked memory can be copied while the CPU does something else; copies from ordinary memory would block
        # the call.
        pointer = int(self.call("cuMemHostAlloc", size, _DEVICE_MAP if self.shares_memory else 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Free page-locked memory; the array must not be touched afterwards."""
        self.call("cuMemFreeHost", memory.ctypes.data)

    def device_address(self, host: NDArray[np.uint8]) -> int:
        """The address at which kernels reach ``host``, page-locked memory of a device that shares it."""
        return int(self.call("cuMemHostGetDevicePointer", host.ctypes.data, 0))

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
        # Global mode would fail whenever any other thread of the program, such as a second camera's, allocates memory.
        mode = self.cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            with contextlib.suppress(CudaError):  # an invalidated capture ends in an error and leaves no graph
                self.call("cuGraphDestroy", self.call("cuStreamEndCapture", stream))
            raise
        # The captured graph is a description; instantiating makes what can be launched, and the description is not
        # needed after that.
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


class _Stream:
    """A stream of pycuda that converts to int, as the handles of cuda-bindings do."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __int__(self) -> int:
        return int(self.stream.handle)


class PycudaDriver(Driver):
    """The same calls over ``pycuda.driver``, whose objects free what they hold when they are dropped.

    It has no CUDA graphs and copies on every device. A call that fails raises pycuda's own exceptions.
    """

    package, has_graphs = "pycuda", False

    def __init__(self, cuda: ModuleType) -> None:
        """``cuda``: the module ``pycuda.driver``."""
        self.cuda = cuda
        cuda.init()
        if cuda.Device.count() < 1:
            raise CudaError("this machine has no NVIDIA GPU")
        device = cuda.Device(0)
        self.gpu = str(device.name())
        self.capability = ".".join(str(number) for number in device.compute_capability())
        self.primary = device.retain_primary_context()

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """As Driver.context."""
        self.primary.push()
        try:
            yield
        finally:
            self.cuda.Context.pop()

    def allocate(self, size: int) -> Any:
        """As Driver.allocate."""
        return self.cuda.mem_alloc(size)

    def free(self, memory: Any) -> None:
        """As Driver.free: now, and not when the last reference goes."""
        memory.free()

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """As Driver.allocate_host; the array keeps the allocation alive as its base."""
        return np.asarray(self.cuda.pagelocked_empty((size,), np.uint8))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """As Driver.free_host; an allocation without ``free`` goes with its last reference."""
        getattr(memory.base, "free", lambda: None)()

    def create_stream(self) -> Any:
        """As Driver.create_stream."""
        return _Stream(self.cuda.Stream(_NON_BLOCKING))

    def destroy_stream(self, stream: Any) -> None:
        """The caller holds the last reference and drops it next, while the context is current."""

    def synchronize(self, stream: Any) -> None:
        """As Driver.synchronize."""
        stream.stream.synchronize()

    def copy_in(self, device: Any, host: NDArray[Any], stream: Any) -> None:
        """As Driver.copy_in."""
        self.cuda.memcpy_htod_async(device, host, stream.stream)

    def copy_out(self, host: NDArray[Any], device: Any, stream: Any) -> None:
        """As Driver.copy_out."""
        self.cuda.memcpy_dtoh_async(host, device, stream.stream)


_DRIVERS: dict[str, tuple[str, type[Driver]]] = {
    "cuda-bindings": ("cuda.bindings.driver", Driver),
    "pycuda": ("pycuda.driver", PycudaDriver),
}


@functools.cache
def open_driver() -> Driver:
    """The one driver of this process. Raises CudaError without a package, without an NVIDIA driver or a GPU."""
    preferred = os.environ.get("MUTUALFORMER_CUDA", "") or "cuda-bindings"
    if preferred not in _DRIVERS:
        raise CudaError(f"MUTUALFORMER_CUDA is {preferred!r}, expected cuda-bindings or pycuda")
    # The preferred package first, the other one as the fallback where the first is not installed.
    for name, kind in sorted(_DRIVERS.values(), key=lambda driver: driver != _DRIVERS[preferred]):
        try:
            return kind(importlib.import_module(name))
        # Only a package that is absent leads to the next one. One that is there and fails has found the real problem,
        # and the other would hide it.
        except ModuleNotFoundError:
            continue
        except CudaError:
            raise
        except Exception as error:  # both packages raise their own errors where the driver's library is missing or old
            raise CudaError(f"CUDA cannot start: {' '.join(str(error).split())}") from error
    raise CudaError(missing("cuda.bindings"))
