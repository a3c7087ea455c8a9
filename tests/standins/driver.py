"""libcuda.so.1 for tests: what it was asked, what it shall refuse, and who executes its launches."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.kernels.usage import LIMITS
from mutualformer.plugins.architectures import RUNS_AS

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

Execute = Callable[["Driver", str, tuple[int, int, int], dict[str, Any], list[Any]], None]
"""Driver, name of the kernel, grid, its row of cubins.json, values of its arguments → the launch is done."""


class Driver:
    """Must be loaded before the plugin runs.

    ``execute``: what does a launch, Triton's interpreter by default. ``intercept``: what happens to a launch on its way
    (planted faults). ``only_allocations``: every pointer argument must lie in memory that this driver allocated;
    otherwise any host memory will do.
    """

    def __init__(self, folder: Path, execute: Execute | None = None) -> None:
        self.execute = execute or _interpreter()
        self.library = ctypes.CDLL(str(folder / "libtest_cuda_driver.so"), mode=ctypes.RTLD_GLOBAL)
        self.library.test_driver_set_context.argtypes = [ctypes.c_ulonglong]
        self.library.test_driver_extent.restype = ctypes.c_size_t
        read = [json.loads((folder / "generated" / name).read_text()) for name in ("cubins.json", "ptx.json")]
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
        limit = LIMITS.get(RUNS_AS.get(capability, capability), LIMITS[87])
        self.library.test_driver_set_limits(limit.warps, limit.shared, limit.shared_reserved)
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
        if name == "empty":  # the timing's floor
            return
        image = self._image(name)
        assert block == 32 * image["warps"], (
            f"{name} launched with {block} threads, compiled for {image['warps']} warps"
        )
        assert shared == image["shared"], f"{name} launched with {shared} bytes shared, needs {image['shared']}"
        values = [
            _PTX_TYPES[kind].from_address(arguments[i]).value for i, kind in enumerate(image["parameters"])
        ]  # read with the types in the PTX, not with what the plugin believes
        assert values[-2:] == [0, 0], "Triton's scratch pointers should be null"
        names = argument_names(name)
        assert len(names) == len(values) - 2
        if self.intercept is not None:
            changed = self.intercept(name, names, values)
            if changed is None:
                return
            values = changed
        for argument, value in zip(names, values, strict=False):
            assert not (argument.endswith("_ptr") and self.only_allocations) or self.extent(value) > 0, (
                f"{name}: {argument} is {value:#x}, which lies in no allocation"
            )
        self.execute(self, name, grid, image, values[:-2])
        self.launches.append((name, grid, stream))


def _interpreter() -> Execute:
    """Triton's, imported when it is wanted."""
    from tests.standins.interpreter import execute

    return execute


_POINTERS = ("self", "next")
_ROWS = ("q", "k", "x", *_POINTERS)
_COLUMNS = ("q", "k", "g", *_POINTERS, "y")
_NUMBERS = {
    "cda_rows": "qk_width x_width self_width next_width writes scale_log2 lse_weight",
    "cda_columns": "qk_width g_width self_width next_width y_width scale_log2 weight residual_weight",
}


def argument_names(kernel: str) -> list[str]:
    """Arguments of cda_rows or cda_columns in their order (plugins/kernels/cda.py); the interpreter checks them."""
    kind = "cda_rows" if kernel.startswith("cda_rows") else "cda_columns"
    pointers = [f"{name}_{m}_ptr" for name in (_ROWS if kind == "cda_rows" else _COLUMNS) for m in "rd"]
    return [*pointers, "lse_ptr", "tokens", "heads", "head_units", *_NUMBERS[kind].split()]
