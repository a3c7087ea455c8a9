"""Launches of cda_rows and cda_columns in NumPy: what the acceptance's checks run on where there is no Triton.

Every tensor must lie wholly in one allocation: a kernel that gets one token too many is caught.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins.harness.numbers import STORED, decode, encode
from mutualformer.plugins.kernels.schedule import WRITE_LSE, WRITE_NEXT
from mutualformer.plugins.kernels.tiles import variant_named
from tests.standins.driver import Driver, argument_names


class _Tensors:
    """The tensors of one launch: (B, N, heads, head_dim) each, by name."""

    def __init__(self, driver: Driver, name: str, grid: tuple[int, int, int], values: list[Any]) -> None:
        self.driver, variant = driver, variant_named(name)
        self.values = dict(zip(argument_names(name), values, strict=True))
        self.dtype = variant.dtype
        self.heads, self.tokens = self.values["heads"], self.values["tokens"]
        self.batch, self.head_dim = grid[1] // self.heads, self.values["head_units"] * variant.unit

    def memory(self, address: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = count * dtype.itemsize
        if self.driver.only_allocations:
            assert self.driver.extent(address) >= size, f"{size} bytes at {address:#x} reach beyond their allocation"
        return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), dtype)

    def view(self, name: str, width: str) -> NDArray[Any]:
        """The stored numbers of tensor ``name``, whose rows are ``width`` times all channels long."""
        rows, channels = self.batch * self.tokens, self.heads * self.head_dim
        stride = self.values[width] * channels
        memory = self.memory(self.values[f"{name}_ptr"], (rows - 1) * stride + channels, STORED[self.dtype])
        size = memory.itemsize
        shape = (self.batch, self.tokens, self.heads, self.head_dim)
        strides = (self.tokens * stride * size, stride * size, self.head_dim * size, size)
        return np.lib.stride_tricks.as_strided(memory, shape, strides)

    def read(self, name: str, width: str) -> NDArray[np.float32]:
        """float32 (B, heads, N, head_dim)."""
        return decode(self.view(name, width), self.dtype).transpose(0, 2, 1, 3)

    def write(self, name: str, width: str, value: NDArray[Any]) -> None:
        """The reverse of :meth:`read`, rounded."""
        self.view(name, width)[...] = encode(value.transpose(0, 2, 1, 3), self.dtype)

    def lse(self, modality: int) -> NDArray[np.float32]:
        """float32 (B, heads, N), a view."""
        whole = self.memory(self.values["lse_ptr"], 2 * self.batch * self.heads * self.tokens, np.dtype("f4"))
        return whole.reshape(2, self.batch, self.heads, self.tokens)[modality]


def _rows(t: _Tensors) -> None:
    for modality, (m, o) in enumerate((("r", "d"), ("d", "r"))):
        scores = t.read(f"q_{m}", "qk_width") @ t.read(f"k_{m}", "qk_width").swapaxes(-1, -2) * t.values["scale_log2"]
        most = scores.max(-1, keepdims=True)
        p = np.exp2(scores - most)
        total = p.sum(-1, keepdims=True)
        p = decode(encode(p, t.dtype), t.dtype)
        own, other = (p @ t.read(f"x_{n}", "x_width") / total for n in (m, o))
        if t.values["writes"] & WRITE_LSE:
            t.lse(modality)[...] = (most + np.log2(total * t.values["lse_weight"]))[..., 0]
        t.write(f"self_{m}", "self_width", own)
        if t.values["writes"] & WRITE_NEXT:
            t.write(f"next_{o}", "next_width", other)


def _columns(t: _Tensors) -> None:
    for modality, m in enumerate("rd"):
        scores = t.read(f"q_{m}", "qk_width") @ t.read(f"k_{m}", "qk_width").swapaxes(-1, -2) * t.values["scale_log2"]
        p = decode(encode(np.exp2(scores - t.lse(modality)[..., None]), t.dtype), t.dtype)
        product = p.swapaxes(-1, -2) @ t.read(f"g_{m}", "g_width")
        rest = t.read(f"self_{m}", "self_width") + t.read(f"next_{m}", "next_width")
        t.write(f"y_{m}", "y_width", t.values["weight"] * product + t.values["residual_weight"] * rest)


def execute(driver: Driver, name: str, grid: tuple[int, int, int], image: dict[str, Any], values: list[Any]) -> None:
    """One launch; ``values``: its arguments as the cubin declares them."""
    tensors = _Tensors(driver, name, grid, values)
    assert grid[0] * image["block_m"] >= tensors.tokens > (grid[0] - 1) * image["block_m"]
    assert grid[2] == 2
    (_rows if name.startswith("cda_rows") else _columns)(tensors)
