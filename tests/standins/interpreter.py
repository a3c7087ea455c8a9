"""Launches in Triton's interpreter: the kernels' own source over host memory."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from mutualformer.plugins.kernels.pytorch import SUPPORTED
from mutualformer.plugins.kernels.tiles import VECTOR_UNIT, variant_named
from tests.standins.driver import Driver, argument_names
from tests.standins.interpreted import interpreting


def execute(_driver: Driver, name: str, grid: tuple[int, int, int], image: dict[str, Any], values: list[Any]) -> None:
    """One launch; ``values``: its arguments as the cubin declares them."""
    variant = variant_named(name)
    element = next(dtype for dtype, known in SUPPORTED.items() if known == variant.dtype)
    with interpreting() as kernels:
        kernel = getattr(kernels, variant.kernel)
        names = [n for n in kernel.arg_names if not n.isupper()]
        assert names == argument_names(name)
        arguments = [
            _at(value, torch.float32 if argument == "lse_ptr" else element, variant.unit)
            if argument.endswith("_ptr")
            else value
            for argument, value in zip(names, values, strict=True)
        ]
        kernel[grid](
            *arguments,
            UNIT=variant.unit,
            BLOCK_M=image["block_m"],
            BLOCK_N=image["block_n"],
            BLOCK_D=variant.block_d,
        )


def _at(address: int, dtype: torch.dtype, unit: int) -> torch.Tensor:
    """A tensor that begins at ``address``; the interpreter only uses where it begins."""
    assert address != 0
    if unit == VECTOR_UNIT:
        assert address % 16 == 0, "vector kernels were compiled for 16-byte boundaries"
    memory = (ctypes.c_uint8 * 4).from_address(address)
    return torch.frombuffer(memory, dtype=torch.uint8).view(dtype)
