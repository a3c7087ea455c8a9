"""The CUDA driver calls of an engine session, through ``cuda-bindings`` or pycuda, whichever is installed.

Both come as wheels or build where a GPU is; ``MUTUALFORMER_CUDA=pycuda`` prefers pycuda where both are. GPU 0's primary
context, which TensorRT uses too, is retained once and for the life of the process: releasing it while an engine of
this or another session is alive would take its memory away.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import ModelError

ENVIRONMENT = "MUTUALFORMER_CUDA"
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the legacy default stream

_lock = threading.Lock()
_opened: Driver | None = None


class CudaError(ModelError, RuntimeError):
    """CUDA cannot be used or a driver call failed: says which call and what the driver answered."""


class Driver(abc.ABC):
    """GPU 0. Every method but the constructor's wants :meth:`context` to be entered on the calling thread.

    ``package``: where the calls come from. ``gpu``: the device's name. ``capability``: e.g. "8.7". ``has_graphs``:
    whether :meth:`capture` works. Memory, streams and graphs are handles of the package; ``address`` gives TensorRT
    the number behind one.
    """

    package: str
    gpu: str
    capability: str
    has_graphs: bool

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """The primary context, current on this thread inside the ``with`` and whatever it was before outside."""
        self.push()
        try:
            yield
        finally:
            self.pop()

    @abc.abstractmethod
    def push(self) -> None:
        """Make the primary context current on this thread; :meth:`pop` undoes it."""

    @abc.abstractmethod
    def pop(self) -> None:
        """Make current again what was current before :meth:`push`."""

    @abc.abstractmethod
    def address(self, handle: Any) -> int:
        """The number that TensorRT wants for device memory or a stream."""

    @abc.abstractmethod
    def allocate(self, size: int) -> Any:
        """``size`` bytes of device memory; :meth:`free` gives them back."""

    @abc.abstractmethod
    def free(self, memory: Any) -> None:
        """Give device memory back; nothing queued may still use it."""

    @abc.abstractmethod
    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """``size`` bytes of page-locked host memory; :meth:`free_host` gives them back."""

    @abc.abstractmethod
    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Give page-locked memory back; nothing queued may still use it."""

    @abc.abstractmethod
    def create_stream(self) -> Any:
        """A stream that does not wait for the legacy default stream."""

    @abc.abstractmethod
    def destroy_stream(self, stream: Any) -> None:
        """Give a stream back; what is queued on it still runs to its end."""

    @abc.abstractmethod
    def synchronize(self, stream: Any) -> None:
        """Wait for everything queued on ``stream``."""

    @abc.abstractmethod
    def copy_in(self, device: Any, host: NDArray[Any], stream: Any) -> None:
        """Queue a copy of all of ``host`` (contiguous, page-locked) to ``device``."""

    @abc.abstractmethod
    def copy_out(self, host: NDArray[Any], device: Any, stream: Any) -> None:
        """Queue a copy from ``device`` that fills ``host``."""

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """A graph of what ``work`` queues on ``stream``, ready to be launched. Raises CudaError; nothing is queued."""
        raise CudaError(f"{self.package} has no CUDA graphs")

    def launch(self, graph: Any, stream: Any) -> None:
        """Queue a whole graph."""
        raise CudaError(f"{self.package} has no CUDA graphs")

    def destroy_graph(self, graph: Any) -> None:
        """Give a graph back; nothing of it may be running."""
        raise CudaError(f"{self.package} has no CUDA graphs")


class BindingsDriver(Driver):
    """Over ``cuda.bindings.driver``: C calls that return an error code first."""

    package, has_graphs = "cuda-bindings", True

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        self.call("cuInit", 0)
        if self.call("cuDeviceGetCount") < 1:
            raise CudaError("no NVIDIA GPU here")
        device = self.call("cuDeviceGet", 0)
        self.gpu = self.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(errors="replace")
        attribute = cuda.CUdevice_attribute
        names = ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR", "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR")
        self.capability = ".".join(str(self.call("cuDeviceGetAttribute", getattr(attribute, n), device)) for n in names)
        self._primary = self.call("cuDevicePrimaryCtxRetain", device)

    def call(self, name: str, *arguments: Any) -> Any:
        """One driver call; its value, or CudaError with the driver's own name for what went wrong."""
        result, *values = getattr(self._cuda, name)(*arguments)
        self.check(name, result)
        return values[0] if values else None

    @staticmethod
    def check(name: str, result: Any) -> None:
        """Raise CudaError with the driver's own name for ``result``, the answer of call ``name``, unless success."""
        if int(result) != 0:
            raise CudaError(f"{name} failed: {getattr(result, 'name', result)}")

    def push(self) -> None:
        """As Driver.push. Raises CudaError, as every method here, with the driver's own name for it."""
        self.call("cuCtxPushCurrent", self._primary)

    def pop(self) -> None:
        """As Driver.pop."""
        self.call("cuCtxPopCurrent")

    def address(self, handle: Any) -> int:
        """The handle itself: the package's handles convert to int."""
        return int(handle)

    def allocate(self, size: int) -> Any:
        """As Driver.allocate; the handle is the address."""
        return self.call("cuMemAlloc", size)

    def free(self, memory: Any) -> None:
        """As Driver.free."""
        self.call("cuMemFree", memory)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """As Driver.allocate_host: a view of the driver's memory, which the array does not own."""
        pointer = int(self.call("cuMemHostAlloc", size, 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """As Driver.free_host; the array must not be touched any more."""
        self.call("cuMemFreeHost", memory.ctypes.data)

    def create_stream(self) -> Any:
        """As Driver.create_stream."""
        return self.call("cuStreamCreate", _NON_BLOCKING)

    def destroy_stream(self, stream: Any) -> None:
        """As Driver.destroy_stream."""
        self.call("cuStreamDestroy", stream)

    def synchronize(self, stream: Any) -> None:
        """As Driver.synchronize; also where the failure of earlier work shows."""
        self.call("cuStreamSynchronize", stream)

    def copy_in(self, device: Any, host: NDArray[Any], stream: Any) -> None:
        """As Driver.copy_in."""
        self.call("cuMemcpyHtoDAsync", device, host.ctypes.data, host.nbytes, stream)

    def copy_out(self, host: NDArray[Any], device: Any, stream: Any) -> None:
        """As Driver.copy_out."""
        self.call("cuMemcpyDtoHAsync", host.ctypes.data, device, host.nbytes, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """As Driver.capture, in thread-local mode: other threads may allocate meanwhile."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            with contextlib.suppress(CudaError):  # a broken capture ends in an error and without a graph
                self.call("cuGraphDestroy", self.call("cuStreamEndCapture", stream))
            raise
        graph = self.call("cuStreamEndCapture", stream)
        try:
            return self.call("cuGraphInstantiate", graph, 0)
        finally:
            self.call("cuGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """As Driver.launch."""
        self.call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """As Driver.destroy_graph."""
        self.call("cuGraphExecDestroy", graph)


class PycudaDriver(Driver):
    """Over ``pycuda.driver``: objects that free what they hold when they are dropped. It has no CUDA graphs."""

    package, has_graphs = "pycuda", False

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        cuda.init()
        if cuda.Device.count() < 1:
            raise CudaError("no NVIDIA GPU here")
        device = cuda.Device(0)
        self.gpu = str(device.name())
        self.capability = ".".join(str(number) for number in device.compute_capability())
        self._primary = device.retain_primary_context()

    def push(self) -> None:
        """As Driver.push. What fails raises pycuda's own exceptions, here and below."""
        self._primary.push()

    def pop(self) -> None:
        """As Driver.pop."""
        self._cuda.Context.pop()

    def address(self, handle: Any) -> int:
        """A stream's ``handle``; device allocations convert to int themselves."""
        return int(getattr(handle, "handle", handle))

    def allocate(self, size: int) -> Any:
        """As Driver.allocate; the handle is a DeviceAllocation, which frees itself when dropped."""
        return self._cuda.mem_alloc(size)

    def free(self, memory: Any) -> None:
        """As Driver.free: now, and not when the last reference goes."""
        memory.free()

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """As Driver.allocate_host; the array keeps the allocation alive as its base."""
        return np.asarray(self._cuda.pagelocked_empty((size,), np.uint8))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """As Driver.free_host; where the base has no ``free`` the last reference does it."""
        base = memory.base
        if base is not None and hasattr(base, "free"):
            base.free()

    def create_stream(self) -> Any:
        """As Driver.create_stream."""
        return self._cuda.Stream(_NON_BLOCKING)

    def destroy_stream(self, stream: Any) -> None:
        """Its last reference is the caller's, who drops it next, inside the context."""

    def synchronize(self, stream: Any) -> None:
        """As Driver.synchronize."""
        stream.synchronize()

    def copy_in(self, device: Any, host: NDArray[Any], stream: Any) -> None:
        """As Driver.copy_in."""
        self._cuda.memcpy_htod_async(device, host, stream)

    def copy_out(self, host: NDArray[Any], device: Any, stream: Any) -> None:
        """As Driver.copy_out."""
        self._cuda.memcpy_dtoh_async(host, device, stream)


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    except Exception as error:  # a package that is there and does not load: no driver, another CUDA
        raise CudaError(f"Python package {name} does not load: {' '.join(str(error).split())}") from error


def _open() -> Driver:
    preference = os.environ.get(ENVIRONMENT, "")
    if preference not in ("", "cuda-bindings", "pycuda"):
        raise CudaError(f"{ENVIRONMENT} is {preference!r}, expected cuda-bindings or pycuda")
    kinds: list[tuple[str, type[BindingsDriver] | type[PycudaDriver]]]
    kinds = [("cuda.bindings.driver", BindingsDriver), ("pycuda.driver", PycudaDriver)]
    for name, kind in reversed(kinds) if preference == "pycuda" else kinds:
        module = _import(name)
        if module is None:
            continue
        try:
            return kind(module)
        except CudaError:
            raise
        except Exception as error:  # pycuda's own LogicError, a missing driver library
            raise CudaError(f"CUDA cannot start: {' '.join(str(error).split())}") from error
    raise CudaError("neither cuda-bindings nor pycuda is installed; pip install 'mutualformer[cuda]'")


def open_driver() -> Driver:
    """The one driver of this process. Raises CudaError where there is no package, no NVIDIA driver or no GPU."""
    global _opened
    with _lock:
        if _opened is None:
            _opened = _open()
        return _opened
