"""Recording stand-ins for ``pycuda.driver`` and ``tensorrt``: host memory plays the device, every call is written down.

Copies are carried out only when the stream is synchronised, so that a buffer reused too early gives a wrong result.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


class Memory:
    """A device allocation: an address and bytes, unusable once freed."""

    next_address = 0x1000

    def __init__(self, size: int) -> None:
        self.address, self.bytes, self.freed = Memory.next_address, np.full(size, 0xCD, np.uint8), False
        Memory.next_address += size + 4096

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        assert not self.freed, "freed twice"
        self.freed = True


class Cuda:
    """Stands in for ``pycuda.driver``."""

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.calls: list[str] = []
        self.memory: dict[int, Memory] = {}
        self._depth = threading.local()  # contexts pushed, per thread as CUDA has it
        self.capability = capability
        cuda = self

        class Stream:
            count = 0

            def __init__(self) -> None:
                Stream.count += 1
                self.handle = Stream.count
                self.queue: list[Any] = []
                cuda.note("Stream")

            def synchronize(self) -> None:
                cuda.note("synchronize")
                queue, self.queue = self.queue, []
                for work in queue:
                    work()

        class Device:
            def __init__(self, index: int) -> None:
                assert index == 0

            def name(self) -> str:
                return "Recording GPU"

            def compute_capability(self) -> tuple[int, int]:
                return cuda.capability

            def retain_primary_context(self) -> Any:
                return Primary()

        class Primary:
            def push(self) -> None:
                cuda.depth += 1

            def detach(self) -> None:
                cuda.calls.append("detach")

        class Context:
            @staticmethod
            def pop() -> None:
                assert cuda.depth > 0, "popped more contexts than were pushed"
                cuda.depth -= 1

        self.Stream, self.Device, self.Context = Stream, Device, Context
        self.streams: dict[int, Any] = {}

    @property
    def depth(self) -> int:
        return getattr(self._depth, "value", 0)

    @depth.setter
    def depth(self, value: int) -> None:
        self._depth.value = value

    def note(self, call: str) -> None:
        assert self.depth > 0, f"{call} outside of a context"
        self.calls.append(call)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.note("pagelocked_empty")
        return np.full(shape, 0xEE, dtype)

    def mem_alloc(self, size: int) -> Memory:
        self.note("mem_alloc")
        memory = Memory(size)
        self.memory[memory.address] = memory
        return memory

    def memcpy_htod_async(self, device: Memory, host: np.ndarray, stream: Any) -> None:
        self.note("htod")
        self.streams[stream.handle] = stream
        flat = host.reshape(-1).view(np.uint8)

        def copy() -> None:
            assert not device.freed
            device.bytes[: flat.size] = flat

        stream.queue.append(copy)

    def memcpy_dtoh_async(self, host: np.ndarray, device: Memory, stream: Any) -> None:
        self.note("dtoh")
        flat = host.reshape(-1).view(np.uint8)

        def copy() -> None:
            assert not device.freed
            flat[:] = device.bytes[: flat.size]

        stream.queue.append(copy)


class Trt:
    """Stands in for ``tensorrt``; its engine answers saliency = (mean of the colours / 255) where depth > 0."""

    def __init__(self, cuda: Cuda, size: tuple[int, int], version: str = "1.7.1.116", refuse: str = "") -> None:
        self.__version__ = version
        height, width = size
        trt = self

        class Logger:
            WARNING = 2

            def __init__(self, severity: int) -> None: ...

        class TensorIOMode:
            INPUT, OUTPUT = 0, 1

        specs = {
            "rgb": ("uint8", (-1, height, width, 3), 0),
            "depth": ("float32", (-1, height, width), 0),
            "saliency": ("float32", (-1, height, width), 1),
        }

        class Context:
            def __init__(self) -> None:
                self.addresses: dict[str, int] = {}
                self.shapes: dict[str, tuple[int, ...]] = {}

            def set_tensor_address(self, name: str, address: int) -> bool:
                self.addresses[name] = address
                return refuse != "address"

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                cuda.calls.append(f"shape {name} {shape[0]}")
                self.shapes[name] = tuple(shape)
                return refuse != "shape"

            def execute_async_v3(self, handle: int) -> bool:
                cuda.note("execute")
                batch = self.shapes["rgb"][0]

                def compute() -> None:
                    values = {}
                    for name, (dtype, shape, _) in specs.items():
                        count = batch * int(np.prod(shape[1:]))
                        raw = cuda.memory[self.addresses[name]].bytes
                        values[name] = raw[: count * np.dtype(dtype).itemsize].view(dtype).reshape(batch, *shape[1:])
                    values["saliency"][:] = values["rgb"].mean(axis=3) / 255 * (values["depth"] > 0)

                cuda.streams[handle].queue.append(compute)
                return refuse != "execute"

        class Engine:
            num_io_tensors = len(specs)

            def get_tensor_name(self, index: int) -> str:
                return list(specs)[index]

            def get_tensor_dtype(self, name: str) -> str:
                return specs[name][0]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return specs[name][1]

            def get_tensor_mode(self, name: str) -> int:
                return specs[name][2]

            def create_execution_context(self, *config: Any) -> Context:
                trt.configs.extend(config)
                return Context()

        class Runtime:
            def __init__(self, logger: Logger) -> None: ...

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                return None if refuse == "engine" else Engine()

        self.configs: list[Any] = []
        self.Logger, self.Runtime, self.TensorIOMode = Logger, Runtime, TensorIOMode
        self.nptype = np.dtype
