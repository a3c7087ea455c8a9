"""TensorRT's side of the plugin without a GPU: a driver that interprets launches, and the steps of an engine."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mutualformer.plugins.architectures import RUNS_AS
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.files import parse_json
from mutualformer.plugins.kernels.interpreted import interpreting
from mutualformer.plugins.kernels.pytorch import SUPPORTED
from mutualformer.plugins.kernels.tiles import VECTOR_UNIT, variant_named
from mutualformer.plugins.standins.buffers import Buffer, Memory

INT32, FLOAT32, CHAR, INT64 = 5, 1, 6, 10  # nvinfer1::PluginFieldType
BUILD_PHASE, RUNTIME_PHASE = 0, 1
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 7}  # nvinfer1::DataType

# ---- The driver ----

_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_uint),
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)
_PTX_TYPES: dict[str, Any] = {"u64": ctypes.c_uint64, "u32": ctypes.c_int32, "f32": ctypes.c_float}


Intercept = Callable[[str, list[str], list[Any]], "list[Any] | None"]
"""Kernel, names and values of its arguments → the values it gets, or None for a launch that never runs."""


class Driver:
    """libcuda.so.1 for tests: hands every launch to Triton's interpreter. Must be loaded before the plugin runs.

    ``intercept``: what happens to a launch on its way (planted faults). ``only_allocations``: every pointer argument
    must lie in memory that this driver allocated; otherwise any host memory will do.
    """

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(str(folder / "libtest_cuda_driver.so"), mode=ctypes.RTLD_GLOBAL)
        self.library.test_driver_set_context.argtypes = [ctypes.c_ulonglong]
        self.library.test_driver_extent.restype = ctypes.c_size_t
        read = [parse_json((folder / "generated" / name).read_text()) for name in ("cubins.json", "ptx.json")]
        self.images: dict[tuple[str, int], dict[str, Any]] = {(i["name"], i["arch"]): i for i in read[0]}
        self.ptx: dict[str, dict[str, Any]] = {i["name"]: i for i in read[1]}
        self._callback = _LAUNCH(self._launch)
        self.only_allocations = False
        self.intercept: Intercept | None = None
        self.reset()

    def reset(self, capability: int = 87, context: int = 1) -> None:
        """Forget launches, errors, planted failures; be a device of ``capability`` in ``context`` from now on."""
        self.library.test_driver_reset()
        self.library.test_driver_on_launch(self._callback)
        self.library.test_driver_set_capability(capability)
        self.library.test_driver_set_context(context)
        self.capability = capability
        self.launches: list[tuple[str, tuple[int, ...], int]] = []
        self.errors: list[str] = []

    def fail(self, call: str, result: int, skip: int = 0) -> None:
        """Let the driver call named ``call`` answer ``result`` (a CUresult) after ``skip`` more good answers."""
        self.library.test_driver_fail(call.encode(), result, skip)

    def calls(self, call: str) -> int:
        """How often ``call`` was made since :meth:`reset`."""
        return int(self.library.test_driver_calls(call.encode()))

    def extent(self, address: int) -> int:
        """Bytes from ``address`` to the end of the allocation it lies in, 0 outside of all."""
        return int(self.library.test_driver_extent(ctypes.c_void_p(address)))

    def _launch(
        self, name: bytes, grid: Sequence[int], block: int, shared: int, arguments: Sequence[int], stream: int | None
    ) -> int:
        try:
            self._interpret(name.decode(), (grid[0], grid[1], grid[2]), block, shared, arguments, stream or 0)
        except Exception:
            self.errors.append(traceback.format_exc())
            return 719  # CUDA_ERROR_LAUNCH_FAILED
        return 0

    def _image(self, name: str) -> dict[str, Any]:
        """What was loaded for this device: its cubin, or the PTX that its driver compiled."""
        cubin = self.images.get((name, RUNS_AS.get(self.capability, self.capability)))
        wants_ptx = os.environ.get("MUTUALFORMER_KERNELS") == "ptx"
        return self.ptx[name] if cubin is None or wants_ptx else cubin

    def _interpret(
        self, name: str, grid: tuple[int, int, int], block: int, shared: int, arguments: Sequence[int], stream: int
    ) -> None:
        image, variant = self._image(name), variant_named(name)
        assert block == 32 * image["warps"], (
            f"{name} launched with {block} threads, compiled for {image['warps']} warps"
        )
        assert shared == image["shared"], f"{name} launched with {shared} bytes shared, needs {image['shared']}"
        values = [
            _PTX_TYPES[kind].from_address(arguments[i]).value for i, kind in enumerate(image["parameters"])
        ]  # read with the types in the PTX, not with what the plugin believes
        assert values[-2:] == [0, 0], "Triton's scratch pointers should be null"
        element = next(dtype for dtype, known in SUPPORTED.items() if known == variant.dtype)
        with interpreting() as kernels:
            kernel = getattr(kernels, variant.kernel)
            names = [n for n in kernel.arg_names if not n.isupper()]
            assert len(names) == len(values) - 2
            if self.intercept is not None:
                changed = self.intercept(name, names, values)
                if changed is None:
                    return
                values = changed
            for i, argument in enumerate(names):
                if argument.endswith("_ptr"):
                    assert not self.only_allocations or self.extent(values[i]) > 0, (
                        f"{name}: {argument} is {values[i]:#x}, which lies in no allocation"
                    )
                    values[i] = _at(values[i], torch.float32 if argument == "lse_ptr" else element, variant.unit)
            kernel[grid](
                *values[:-2],
                UNIT=variant.unit,
                BLOCK_M=image["block_m"],
                BLOCK_N=image["block_n"],
                BLOCK_D=variant.block_d,
            )
        self.launches.append((name, grid, stream))


def _at(address: int, dtype: torch.dtype, unit: int) -> torch.Tensor:
    """A tensor that begins at ``address``; the interpreter only uses where it begins."""
    assert address != 0
    if unit == VECTOR_UNIT:
        assert address % 16 == 0, "vector kernels were compiled for 16-byte boundaries"
    memory = (ctypes.c_uint8 * 4).from_address(address)
    return torch.frombuffer(memory, dtype=torch.uint8).view(dtype)


# ---- The plugin, as TensorRT drives it ----


class Harness:
    """What TensorRT does with the plugin (harness.cpp).

    ``direct``: the creator comes from the library itself; otherwise the plugin must be in TensorRT-RTX's registry.
    """

    def __init__(self, folder: Path, plugin: Path, direct: bool = False) -> None:
        self.library = ctypes.CDLL(str(folder / "libplugin_harness.so"))
        self.library.harness_workspace.restype = ctypes.c_size_t
        for name in ("create", "deserialize", "clone", "attach"):
            getattr(self.library, f"harness_{name}").restype = ctypes.c_void_p
        for name in ("metadata", "timing_cache_id"):
            getattr(self.library, f"harness_{name}").restype = ctypes.c_char_p
        self._shapes: dict[int, tuple[int, tuple[int, int, int]]] = {}
        self.plugin = str(plugin).encode()
        if direct and self.library.harness_open(self.plugin) != 0:
            raise RuntimeError(f"{plugin} cannot be opened as a plugin library: {self.log().strip()}")
        assert self.library.harness_record_log(self.plugin, 1) == 0

    def release_log(self) -> None:
        """Let the library's messages go where they went before this harness took them."""
        assert self.library.harness_record_log(self.plugin, 0) == 0

    def log(self) -> str:
        """The library's messages since the last call, at most 64 KiB of them."""
        text = ctypes.create_string_buffer(1 << 16)
        self.library.harness_take_log(text, len(text))
        return text.value.decode()

    def create(self, fields: dict[str, int | float | str | np.ndarray], phase: int = BUILD_PHASE) -> int | None:
        """A plugin from fields of any type the value has, or None where the creator refuses.

        int becomes an INT32 field, float FLOAT32, str CHAR, an array the type of its elements (int64, float32,
        int32). ``phase``: BUILD_PHASE or RUNTIME_PHASE.
        """
        names, types, data, lengths = [], [], [], []
        for name, value in fields.items():
            if isinstance(value, str):
                array, kind = np.frombuffer(value.encode(), np.uint8), CHAR
            elif isinstance(value, np.ndarray):
                array, kind = value, {"int64": INT64, "float32": FLOAT32, "int32": INT32}[value.dtype.name]
            else:
                array = np.array([value], np.float32 if isinstance(value, float) else np.int32)
                kind = FLOAT32 if isinstance(value, float) else INT32
            names.append(name.encode())
            types.append(kind)
            data.append(array)
            lengths.append(array.size)
        count = len(names)
        return self.library.harness_create(  # type: ignore[no-any-return]
            count,
            (ctypes.c_char_p * count)(*names),
            (ctypes.c_int * count)(*types),
            (ctypes.c_void_p * count)(*[a.ctypes.data for a in data]),
            (ctypes.c_int * count)(*lengths),
            phase,
        )

    def _shaped(self, name: str, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        function = getattr(self.library, f"harness_{name}")
        return int(function(ctypes.c_void_p(plugin), dtype, *[ctypes.c_int64(s) for s in shape]))

    def configure(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """What the builder asks of a plugin for qkv of ``shape`` (B, N, 3C); 0 if every answer is yes."""
        return self._shaped("configure", plugin, dtype, shape)

    def workspace(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """Bytes of workspace that the plugin wants for qkv of ``shape`` (B, N, 3C)."""
        return self._shaped("workspace", plugin, dtype, shape)

    def shape(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """Tell the plugin the shape of the calls to come, as a new input shape does; 0 is success."""
        self._shapes[plugin] = (dtype, shape)
        return self._shaped("shape", plugin, dtype, shape)

    def deserialize(self, plugin: int) -> int | None:
        """A run-time plugin made of the fields that ``plugin`` serialises, or None."""
        return self.library.harness_deserialize(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def clone(self, plugin: int) -> int | None:
        """The plugin's own copy of itself, or None."""
        return self.library.harness_clone(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def attach(self, plugin: int) -> int | None:
        """The plugin of one execution context, with resources of its own, or None."""
        return self.library.harness_attach(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def destroy(self, *plugins: int) -> None:
        """Release plugins; each may be released once."""
        for plugin in plugins:
            self.library.harness_destroy(ctypes.c_void_p(plugin))

    def enqueue(self, plugin: int, *addresses: int, described: tuple[int, tuple[int, int, int]] | None = None) -> int:
        """``addresses``: qkv_r, qkv_d, y_r, y_d, workspace, stream. ``described``: type and shape (B, N, 3C) that
        TensorRT's descriptions name, those of the last :meth:`shape` by default."""
        dtype, shape = described or self._shapes.get(plugin, (0, (0, 0, 0)))
        arguments = [dtype, *(ctypes.c_int64(s) for s in shape), *(ctypes.c_void_p(a) for a in addresses)]
        return int(self.library.harness_enqueue(ctypes.c_void_p(plugin), *arguments))

    def tactics(self, plugin: int) -> list[int]:
        """What the builder would time."""
        values = (ctypes.c_int * 16)()
        count = int(self.library.harness_tactics(ctypes.c_void_p(plugin), values, 16))
        assert 0 <= count <= 16
        return list(values[:count])

    def set_tactic(self, plugin: int, tactic: int) -> int:
        """Choose the tactic that runs; 0 is success."""
        return int(self.library.harness_set_tactic(ctypes.c_void_p(plugin), tactic))

    def metadata(self, plugin: int) -> str:
        """What the builder prints of the plugin in its layer list."""
        return str(self.library.harness_metadata(ctypes.c_void_p(plugin)).decode())

    def timing_cache_id(self, plugin: int) -> str:
        """What tells this plugin's timings from another's in a builder's timing cache."""
        return str(self.library.harness_timing_cache_id(ctypes.c_void_p(plugin)).decode())


class Engine:
    """One CDA node taken from creation to an execution context, with its buffers, ready to run."""

    def __init__(
        self,
        harness: Harness,
        attributes: CdaAttributes,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        allocate: Callable[[int], Memory] = Buffer,
        tactic: int = 0,
    ) -> None:
        """``tactic``: what TensorRT chose when it built; 0 where it was offered none."""
        self.allocate = allocate
        self.harness, self.attributes, self.dtype, self.kind = harness, attributes, dtype, TYPES[dtype]
        built_plugin = harness.create(dict(attributes.as_dict()))
        assert built_plugin, harness.log()
        assert harness.configure(built_plugin, self.kind, shape) == 0, harness.log()
        self.workspace_bytes = harness.workspace(built_plugin, self.kind, shape)
        loaded = harness.deserialize(built_plugin)
        assert loaded, harness.log()
        harness.destroy(built_plugin)
        copy = harness.clone(loaded)
        assert copy
        harness.destroy(loaded)
        attached = harness.attach(copy)
        assert attached, harness.log()
        harness.destroy(copy)
        self.plugin = attached
        assert harness.set_tactic(attached, tactic) == 0, harness.log()
        self.reshape(shape)

    def reshape(self, shape: tuple[int, int, int]) -> None:
        """Set the input shape; workspace stays that of the first (largest) shape, as in TensorRT."""
        batch, tokens, width = shape
        assert self.harness.shape(self.plugin, self.kind, shape) == 0, self.harness.log()
        size = torch.tensor([], dtype=self.dtype).element_size()
        self.in_shape, self.out_shape = shape, (batch, tokens, width // 3 * 2)
        self.inputs = [self.allocate(batch * tokens * width * size) for _ in range(2)]
        self.outputs = [self.allocate(batch * tokens * width // 3 * 2 * size) for _ in range(2)]
        self.scratch = self.allocate(self.workspace_bytes)

    def run(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor, stream: int = 7) -> int:
        """Write the inputs, (B, N, 3C) each, and queue the node on ``stream``; 0 is success."""
        self.write(qkv_r, qkv_d)
        return self.enqueue(stream)

    def write(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor) -> None:
        """Copy the inputs, (B, N, 3C) each, into their buffers."""
        for buffer, qkv in zip(self.inputs, (qkv_r, qkv_d), strict=True):
            buffer.write(qkv)

    def enqueue(self, stream: int) -> int:
        """Queue the node on what the buffers hold; 0 is success."""
        addresses = [b.address for b in (*self.inputs, *self.outputs, self.scratch)]
        return self.harness.enqueue(self.plugin, *addresses, stream)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``y_r`` and ``y_d``, (B, N, 2C) each, copied out of their buffers."""
        y_r, y_d = (b.read(self.out_shape, self.dtype) for b in self.outputs)
        return y_r, y_d

    def assert_nothing_else_written(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor) -> None:
        """Raise AssertionError where a guard or an input has changed, or pass."""
        names = ("qkv_r", "qkv_d", "y_r", "y_d", "workspace")
        for name, buffer in zip(names, (*self.inputs, *self.outputs, self.scratch), strict=True):
            buffer.assert_guards_intact(name)
        for buffer, qkv in zip(self.inputs, (qkv_r, qkv_d), strict=True):
            assert torch.equal(buffer.read(self.in_shape, self.dtype), qkv), "an input was written"

    def close(self) -> None:
        """Release the plugin; the buffers go with this object."""
        self.harness.destroy(self.plugin)
