"""Recording stand-ins for ``cuda.bindings.driver``, ``pycuda.driver`` and ``tensorrt`` over one pretended GPU.

Host memory plays the device, every call is written down. Work is carried out only when its stream is synchronised, so
that a buffer reused too early gives a wrong result. What a real GPU would not forgive is written into ``Gpu.faults``:
a call outside of a context, memory freed while a copy needs it, an engine destroyed before its contexts.
"""

from __future__ import annotations

import ctypes
import enum
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

OUTSIDE = "another library's context"


class Memory:
    """A device allocation: an address and bytes, unusable once freed."""

    next_address = 0x1000

    def __init__(self, gpu: Gpu, size: int) -> None:
        self.gpu, self.address, self.freed = gpu, Memory.next_address, False
        self.bytes = np.full(size, 0xCD, np.uint8)
        Memory.next_address += size + 4096
        gpu.memory[self.address] = self

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.note("free")
        if self.freed:
            self.gpu.faults.append("device memory freed twice")
        if any(stream.queue for stream in self.gpu.streams.values()):
            self.gpu.faults.append("device memory freed while work is queued")
        self.freed = True


class Gpu:
    """The device and what was done to it. ``stack``: contexts current on this thread, the innermost last."""

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.capability, self.integrated = capability, False
        self.calls: list[str] = []
        self.faults: list[str] = []
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.hosts: dict[int, Any] = {}
        self.retained = 0
        self.alive: dict[str, int] = {"runtime": 0, "engine": 0, "context": 0, "cache": 0}
        self._threads = threading.local()

    @property
    def stack(self) -> list[str]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        stack: list[str] = self._threads.stack
        return stack

    def note(self, call: str) -> None:
        if not self.stack or self.stack[-1] != "primary":
            self.faults.append(f"{call} outside of the primary context")
        self.calls.append(call)

    @property
    def pending(self) -> int:
        return sum(len(stream.queue) for stream in self.streams.values())


class Stream:
    """A queue of work; while it captures, what is queued goes into the graph instead."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.note("Stream")
        self.gpu, self.handle = gpu, 0x500 + len(gpu.streams)
        self.queue: list[Callable[[], None]] = []
        self.graph: list[Callable[[], None]] | None = None
        gpu.streams[self.handle] = self

    def __int__(self) -> int:
        return self.handle

    def add(self, work: Callable[[], None]) -> None:
        (self.queue if self.graph is None else self.graph).append(work)

    def synchronize(self) -> None:
        self.gpu.note("synchronize")
        if self.graph is not None:
            self.gpu.faults.append("synchronised while capturing")
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class Bound:
    """What is destroyed with its last reference, and must be so inside the context and before its owner."""

    def __init__(self, gpu: Gpu, kind: str, before: str = "") -> None:
        self.gpu, self.kind, self.before = gpu, kind, before
        gpu.alive[kind] += 1

    def __del__(self) -> None:
        self.gpu.alive[self.kind] -= 1
        self.gpu.note(f"destroy {self.kind}")
        if self.before and self.gpu.alive[self.before]:
            self.gpu.faults.append(f"{self.kind} destroyed while {self.gpu.alive[self.before]} {self.before} alive")


def _copy_in(gpu: Gpu, device: Memory, pointer: int, size: int, stream: Stream) -> None:
    gpu.note("htod")

    def copy() -> None:
        if device.freed:
            gpu.faults.append("copied to freed memory")
        device.bytes[:size] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    stream.add(copy)


def _copy_out(gpu: Gpu, pointer: int, device: Memory, size: int, stream: Stream) -> None:
    gpu.note("dtoh")

    def copy() -> None:
        if device.freed:
            gpu.faults.append("copied from freed memory")
        ctypes.memmove(pointer, device.bytes.ctypes.data, size)

    stream.add(copy)


def pycuda(gpu: Gpu) -> Any:
    """Stands in for ``pycuda.driver``."""

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 0

        @staticmethod
        def count() -> int:
            return 1

        def name(self) -> str:
            return "Recording GPU"

        def compute_capability(self) -> tuple[int, int]:
            return gpu.capability

        def retain_primary_context(self) -> types.SimpleNamespace:
            gpu.retained += 1
            return types.SimpleNamespace(push=lambda: gpu.stack.append("primary"), detach=lambda: 1 / 0)

    class Context:
        @staticmethod
        def pop() -> None:
            gpu.stack.pop()

    def pagelocked_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        gpu.note("host")
        return np.full(shape, 0xEE, dtype)

    def mem_alloc(size: int) -> Memory:
        gpu.note("alloc")
        return Memory(gpu, size)

    return types.SimpleNamespace(
        init=lambda: None,
        Device=Device,
        Context=Context,
        Stream=lambda flags: Stream(gpu),
        pagelocked_empty=pagelocked_empty,
        mem_alloc=mem_alloc,
        memcpy_htod_async=lambda d, h, s: _copy_in(gpu, d, h.ctypes.data, h.nbytes, s),
        memcpy_dtoh_async=lambda h, d, s: _copy_out(gpu, h.ctypes.data, d, h.nbytes, s),
    )


class Result(enum.IntEnum):
    """CUresult."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


def bindings(gpu: Gpu, fail: str = "") -> Any:
    """Stands in for ``cuda.bindings.driver``; the call named ``fail`` answers with an error from its second time on."""
    counts: dict[str, int] = {}

    def call(name: str, work: Callable[..., object]) -> Callable[..., tuple[Any, ...]]:
        def run(*arguments: object) -> tuple[Any, ...]:
            counts[name] = counts.get(name, 0) + 1
            if name == fail and counts[name] > 1:
                error = Result.CUDA_ERROR_OUT_OF_MEMORY
                return (error, None) if name in ("cuMemAlloc", "cuMemHostAlloc") else (error,)
            value = work(*arguments)
            return (Result.CUDA_SUCCESS,) if value is None else (Result.CUDA_SUCCESS, value)

        return run

    def retain(device: int) -> str:
        gpu.retained += 1
        return "primary"

    def allocate_host(size: int, flags: int) -> int:
        gpu.note("host")
        assert flags == 2 * gpu.integrated, "CU_MEMHOSTALLOC_DEVICEMAP"
        buffer = (ctypes.c_uint8 * size)(*([0xEE] * min(size, 16)))
        gpu.hosts[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def free_host(pointer: int) -> None:
        gpu.note("free host")
        if gpu.hosts.pop(pointer, None) is None:
            gpu.faults.append("host memory freed twice")

    def allocate(size: int) -> Memory:
        gpu.note("alloc")
        return Memory(gpu, size)

    def destroy_stream(stream: Stream) -> None:
        gpu.note("destroy stream")
        if stream.queue:
            gpu.faults.append("stream destroyed with work queued")
        del gpu.streams[stream.handle]

    def begin(stream: Stream, mode: object) -> None:
        gpu.note("capture")
        stream.graph = []

    def end(stream: Stream) -> list[Callable[[], None]]:
        graph, stream.graph = stream.graph, None
        assert graph is not None
        gpu.note("end capture")
        return graph

    def launch(graph: list[Callable[[], None]], stream: Stream) -> None:
        gpu.note("launch")
        stream.queue.extend(graph)

    def attribute(which: int, device: int) -> int:
        return (*gpu.capability, int(gpu.integrated))[which]

    def mapped(pointer: int, flags: int) -> int:
        gpu.note("map")
        buffer = gpu.hosts[pointer]
        gpu.memory[pointer] = types.SimpleNamespace(bytes=np.frombuffer(buffer, np.uint8), freed=True)
        return pointer

    functions: dict[str, Callable[..., Any]] = {
        "cuInit": lambda flags: None,
        "cuDeviceGetCount": lambda: 1,
        "cuDeviceGet": lambda index: 0,
        "cuDeviceGetName": lambda size, device: b"Recording GPU\0\0",
        "cuDeviceGetAttribute": attribute,
        "cuDevicePrimaryCtxRetain": retain,
        "cuCtxPushCurrent": lambda context: gpu.stack.append(context),
        "cuCtxPopCurrent": lambda: gpu.stack.pop(),
        "cuMemAlloc": allocate,
        "cuMemFree": lambda memory: memory.free(),
        "cuMemHostAlloc": allocate_host,
        "cuMemFreeHost": free_host,
        "cuMemHostGetDevicePointer": mapped,
        "cuStreamCreate": lambda flags: Stream(gpu),
        "cuStreamDestroy": destroy_stream,
        "cuStreamSynchronize": lambda stream: stream.synchronize(),
        "cuMemcpyHtoDAsync": lambda d, pointer, size, s: _copy_in(gpu, d, pointer, size, s),
        "cuMemcpyDtoHAsync": lambda pointer, d, size, s: _copy_out(gpu, pointer, d, size, s),
        "cuStreamBeginCapture": begin,
        "cuStreamEndCapture": end,
        "cuGraphInstantiate": lambda graph, flags: graph,
        "cuGraphDestroy": lambda graph: gpu.calls.append("destroy graph"),
        "cuGraphExecDestroy": lambda graph: gpu.note("destroy exec"),
        "cuGraphLaunch": launch,
    }
    return types.SimpleNamespace(
        **{name: call(name, work) for name, work in functions.items()},
        CUdevice_attribute=types.SimpleNamespace(
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=0,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=1,
            CU_DEVICE_ATTRIBUTE_INTEGRATED=2,
        ),
        CUstreamCaptureMode=types.SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1),
    )


class Cache(Bound):
    """An IRuntimeCache: what was compiled, as bytes."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, "cache")
        self.content = b""

    def deserialize(self, data: bytes) -> bool:
        self.content = data
        return data != b"refuse me"

    def serialize(self) -> bytes:
        return self.content or b"kernels of this GPU"


class RuntimeConfig:
    """An IRuntimeConfig."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.cache: Cache | None = None

    def create_runtime_cache(self) -> Cache:
        return Cache(self.gpu)

    def set_runtime_cache(self, cache: Cache) -> None:
        self.cache = cache


class Trt:
    """Stands in for ``tensorrt``; its engine answers saliency = (mean of the colours / 255) where depth > 0.

    ``refuse``: what fails (engine, context, address, shape, execute, capture); ``poison``: answers with NaN; ``rtx``:
    offers TensorRT-RTX's runtime configuration.
    """

    def __init__(
        self,
        gpu: Gpu,
        size: tuple[int, int],
        version: str = "1.7.1.116",
        refuse: str = "",
        poison: bool = False,
        rtx: bool = False,
    ) -> None:
        self.__version__ = version
        self.refuse = refuse
        self.configs: list[Any] = []
        height, width = size
        trt = self
        specs = {
            "rgb": ("uint8", (-1, height, width, 3), 0),
            "depth": ("float32", (-1, height, width), 0),
            "saliency": ("float32", (-1, height, width), 1),
        }

        class Logger:
            WARNING = 2

            def __init__(self, severity: int) -> None: ...

        class TensorIOMode:
            INPUT, OUTPUT = 0, 1

        class Context(Bound):
            def __init__(self) -> None:
                super().__init__(gpu, "context")
                gpu.note("context")
                self.addresses: dict[str, int] = {}
                self.shapes: dict[str, tuple[int, ...]] = {}

            def set_tensor_address(self, name: str, address: int) -> bool:
                self.addresses[name] = address
                return trt.refuse != "address"

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                gpu.note(f"shape {name} {shape[0]}")
                self.shapes[name] = tuple(shape)
                return trt.refuse != "shape"

            def execute_async_v3(self, handle: int) -> bool:
                gpu.note("execute")
                batch = self.shapes["rgb"][0]

                def compute() -> None:
                    values = {}
                    for name, (dtype, shape, _) in specs.items():
                        count = batch * int(np.prod(shape[1:]))
                        raw = gpu.memory[self.addresses[name]].bytes
                        values[name] = raw[: count * np.dtype(dtype).itemsize].view(dtype).reshape(batch, *shape[1:])
                    values["saliency"][:] = values["rgb"].mean(axis=3) / 255 * (values["depth"] > 0)
                    if poison:
                        values["saliency"][0, 0, 0] = np.nan

                capturing = gpu.streams[handle].graph is not None
                gpu.streams[handle].add(compute)
                return trt.refuse != "execute" and not (trt.refuse == "capture" and capturing)

        class Engine(Bound):
            num_io_tensors = len(specs)

            def __init__(self) -> None:
                super().__init__(gpu, "engine", before="context")

            def get_tensor_name(self, index: int) -> str:
                return list(specs)[index]

            def get_tensor_dtype(self, name: str) -> str:
                return specs[name][0]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return specs[name][1]

            def get_tensor_mode(self, name: str) -> int:
                return specs[name][2]

            def create_runtime_config(self) -> RuntimeConfig:
                return RuntimeConfig(gpu)

            def create_execution_context(self, *config: RuntimeConfig) -> Context | None:
                trt.configs.extend(vars(entry).copy() for entry in config)
                return None if trt.refuse == "context" else Context()

        class Runtime(Bound):
            def __init__(self, logger: Logger) -> None:
                super().__init__(gpu, "runtime", before="engine")

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                gpu.note("deserialize")
                return None if trt.refuse == "engine" else Engine()

        if rtx:
            self.CudaGraphStrategy = types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph", DISABLED="none")
            self.DynamicShapesKernelSpecializationStrategy = types.SimpleNamespace(EAGER="eager")
        self.Logger, self.Runtime, self.TensorIOMode = Logger, Runtime, TensorIOMode
        self.nptype = np.dtype
