"""The CUDA driver through ctypes: what the checks ask of it themselves, with no package in between.

Works with the real ``libcuda.so.1`` and with the stand-in of ``plugins/standins``, which have the same names.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

from mutualformer.runtime.session.cuda import CudaError

LIBRARY = "libcuda.so.1"

# CUfunction_attribute
THREADS, LOCAL_BYTES, REGISTERS, MAX_SHARED_BYTES = 0, 3, 4, 8
# CUdevice_attribute
MULTIPROCESSORS, MAJOR, MINOR = 16, 75, 76
KERNEL_NODE = 0  # CU_GRAPH_NODE_TYPE_KERNEL
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_GLOBAL = 0  # CU_STREAM_CAPTURE_MODE_GLOBAL: anything a capture does not allow fails, from any thread


class KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2."""

    _fields_ = [
        ("function", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("extra", ctypes.POINTER(ctypes.c_void_p)),
        ("kernel", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


def _pointer(value: int | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(value)


class CudaDriver:
    """Driver calls on device 0. Handles and addresses are plain integers; every method raises CudaError."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``name`` of the library; CudaError where it is missing or answers anything but CUDA_SUCCESS."""
        try:
            function = getattr(self.library, name)
        except AttributeError:
            raise CudaError(f"{LIBRARY} lacks {name}: the driver is too old (CUDA 12.0 or newer is needed)") from None
        result = function(*arguments)
        if result != 0:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(result, ctypes.byref(text))
            raise CudaError(f"{name} failed: {(text.value or b'unknown error').decode()} ({result})")

    def _int(self, name: str, *arguments: Any) -> int:
        value = ctypes.c_int(0)
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def _handle(self, name: str, *arguments: Any) -> int:
        value = ctypes.c_void_p()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value or 0

    # ---- The device ----

    def device_count(self) -> int:
        """How many GPUs the driver shows; 0 is no error."""
        return self._int("cuDeviceGetCount")

    def device_name(self) -> str:
        """The name of device 0, at most 127 bytes of it, e.g. "Orin"."""
        text = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", text, len(text), 0)
        return text.value.decode(errors="replace")

    def attribute(self, number: int) -> int:
        """The value of CUdevice_attribute ``number`` of device 0."""
        return self._int("cuDeviceGetAttribute", number, 0)

    def version(self) -> str:
        """The newest CUDA this driver serves, e.g. "12.6"."""
        number = self._int("cuDriverGetVersion")
        return f"{number // 1000}.{number % 1000 // 10}"

    def capability(self) -> int:
        """Compute capability as one number, e.g. 87 for 8.7."""
        return 10 * self.attribute(MAJOR) + self.attribute(MINOR)

    def free_bytes(self) -> int:
        """Bytes of device memory that are free now; wants a current context."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    # ---- Contexts ----

    def retain_primary(self) -> int:
        """Device 0's primary context, created by the first retain; give it back with release_primary."""
        return self._handle("cuDevicePrimaryCtxRetain", 0)

    def release_primary(self) -> None:
        """Undo one retain; the last one destroys the context and everything allocated in it."""
        self.call("cuDevicePrimaryCtxRelease_v2", 0)

    def create_context(self) -> int:
        """A context of its own, current on no thread."""
        context = self._handle("cuCtxCreate_v2", 0, 0)
        self._handle("cuCtxPopCurrent_v2")
        return context

    def destroy_context(self, context: int) -> None:
        """Destroy a context that create_context made, current or not, with its memory and modules."""
        self.call("cuCtxDestroy_v2", _pointer(context))

    def current_context(self) -> int:
        """0 where this thread has none."""
        return self._handle("cuCtxGetCurrent")

    @contextlib.contextmanager
    def context(self, context: int) -> Iterator[None]:
        """``context`` is current on this thread inside the ``with``, what was current before outside."""
        self.call("cuCtxPushCurrent_v2", _pointer(context))
        try:
            yield
        finally:
            self._handle("cuCtxPopCurrent_v2")

    def synchronize(self) -> None:
        """Wait for all work of the current context; also where an earlier launch's failure shows."""
        self.call("cuCtxSynchronize")

    # ---- Memory ----

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes of device memory, not initialised."""
        return self._handle("cuMemAlloc_v2", ctypes.c_size_t(size))

    def free(self, address: int) -> None:
        """Give back what :meth:`allocate` returned."""
        self.call("cuMemFree_v2", _pointer(address))

    def fill(self, address: int, byte: int, size: int) -> None:
        """Set ``size`` bytes from ``address`` to ``byte`` (0 … 255)."""
        self.call("cuMemsetD8_v2", _pointer(address), ctypes.c_ubyte(byte), ctypes.c_size_t(size))

    def copy_in(self, address: int, host: int, size: int) -> None:
        """Copy ``size`` bytes from host address ``host`` to device ``address``; ``host`` may change then."""
        self.call("cuMemcpyHtoD_v2", _pointer(address), _pointer(host), ctypes.c_size_t(size))

    def copy_out(self, host: int, address: int, size: int) -> None:
        """Copy ``size`` bytes from device ``address`` to host address ``host``. Synchronise who writes it first."""
        self.call("cuMemcpyDtoH_v2", _pointer(host), _pointer(address), ctypes.c_size_t(size))

    def copy_inside(self, to: int, source: int, size: int, stream: int) -> None:
        """Queue a copy from device memory to device memory."""
        self.call("cuMemcpyDtoDAsync_v2", _pointer(to), _pointer(source), ctypes.c_size_t(size), _pointer(stream))

    # ---- Modules and functions ----

    def load_module(self, image: bytes) -> int:
        """Load a cubin or PTX into the current context; returns the module."""
        return self._handle("cuModuleLoadData", image)

    def unload_module(self, module: int) -> None:
        """Unload a module; its functions are invalid from now on."""
        self.call("cuModuleUnload", _pointer(module))

    def function(self, module: int, name: str) -> int:
        """The kernel ``name`` of a module."""
        return self._handle("cuModuleGetFunction", _pointer(module), name.encode())

    def function_attribute(self, function: int, number: int) -> int:
        """The value of CUfunction_attribute ``number``, e.g. REGISTERS per thread."""
        return self._int("cuFuncGetAttribute", number, _pointer(function))

    def set_function_attribute(self, function: int, number: int, value: int) -> None:
        """Set CUfunction_attribute ``number``, e.g. MAX_SHARED_BYTES beyond the default 48 KiB."""
        self.call("cuFuncSetAttribute", _pointer(function), number, value)

    def resident_blocks(self, function: int, threads: int, shared: int) -> int:
        """Blocks that fit on one multiprocessor."""
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        return self._int(name, _pointer(function), threads, ctypes.c_size_t(shared))

    def launch(self, node: KernelNode, stream: int) -> None:
        """The launch that a captured kernel node describes."""
        arguments = (ctypes.c_uint * 7)(*node.grid, *node.block, node.shared)
        self.call(
            "cuLaunchKernel", _pointer(node.function), *arguments, _pointer(stream), node.arguments, None
        )  # fmt: skip

    # ---- Streams, events, graphs ----

    def create_stream(self) -> int:
        """A stream of the current context that does not wait for the legacy default stream."""
        return self._handle("cuStreamCreate", _NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream; what is queued on it still runs to its end."""
        self.call("cuStreamDestroy_v2", _pointer(stream))

    def synchronize_stream(self, stream: int) -> None:
        """Wait for everything queued on ``stream``."""
        self.call("cuStreamSynchronize", _pointer(stream))

    @contextlib.contextmanager
    def events(self) -> Iterator[tuple[int, int]]:
        """Two events, destroyed afterwards."""
        pair = self._handle("cuEventCreate", 0), self._handle("cuEventCreate", 0)
        try:
            yield pair
        finally:
            for event in pair:
                self.call("cuEventDestroy_v2", _pointer(event))

    def record(self, event: int, stream: int) -> None:
        """Queue ``event`` on ``stream``: it is reached when all work before it is done."""
        self.call("cuEventRecord", _pointer(event), _pointer(stream))

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds between two recorded events, waiting for the second."""
        self.call("cuEventSynchronize", _pointer(last))
        value = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(value), _pointer(first), _pointer(last))
        return value.value

    def begin_capture(self, stream: int) -> None:
        """Record what is queued on ``stream`` instead of running it, until end_capture."""
        self.call("cuStreamBeginCapture_v2", _pointer(stream), _GLOBAL)

    def end_capture(self, stream: int) -> int:
        """The graph of what was queued. Fails where something else than queueing was done meanwhile."""
        graph = ctypes.c_void_p()
        self.call("cuStreamEndCapture", _pointer(stream), ctypes.byref(graph))
        return graph.value or 0

    def kernel_nodes(self, graph: int) -> list[KernelNode]:
        """The launches of a graph, in the order in which they were captured; other nodes are left out."""
        count = ctypes.c_size_t(0)
        self.call("cuGraphGetNodes", _pointer(graph), None, ctypes.byref(count))
        nodes = (ctypes.c_void_p * count.value)()
        self.call("cuGraphGetNodes", _pointer(graph), nodes, ctypes.byref(count))
        kernels = []
        for node in (int(handle or 0) for handle in nodes):
            kind = ctypes.c_int(-1)
            self.call("cuGraphNodeGetType", _pointer(node), ctypes.byref(kind))
            if kind.value == KERNEL_NODE:
                params = KernelNode()
                self.call("cuGraphKernelNodeGetParams_v2", _pointer(node), ctypes.byref(params))
                kernels.append(params)
        return kernels

    def instantiate(self, graph: int) -> int:
        """An executable graph, which :meth:`launch_graph` runs as often as wanted."""
        return self._handle("cuGraphInstantiateWithFlags", _pointer(graph), ctypes.c_ulonglong(0))

    def launch_graph(self, executable: int, stream: int) -> None:
        """Queue one run of an instantiated graph."""
        self.call("cuGraphLaunch", _pointer(executable), _pointer(stream))

    def destroy_graph(self, graph: int, executable: int = 0) -> None:
        """Destroy a graph and, where one is given, the executable made of it."""
        if executable:
            self.call("cuGraphExecDestroy", _pointer(executable))
        self.call("cuGraphDestroy", _pointer(graph))
