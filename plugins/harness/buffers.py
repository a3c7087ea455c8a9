"""Buffers that notice what was written beside them: host memory between guard bytes, poisoned with NaN."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

GUARD = 4096  # bytes on either side of every buffer
GUARD_BYTE, POISON_BYTE = 0xA5, 0xFF  # 0xFF… is NaN in every float type


class Memory(Protocol):
    """What an engine needs of a buffer, wherever it lies: host memory here, a device's in ``export/checks``."""

    @property
    def address(self) -> int:
        """Address of the first usable byte, a multiple of 256."""

    def write(self, tensor: torch.Tensor) -> None:
        """Fill the front of the buffer with a contiguous CPU tensor."""

    def read(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A copy of the whole buffer as a CPU tensor."""
        ...

    def assert_guards_intact(self, name: str) -> None:
        """AssertionError where a byte beside the buffer was written."""


class Buffer:
    """Host memory on a 256-byte boundary between guard bytes; starts as NaN in every float type."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = np.full(size + 2 * GUARD + 256, GUARD_BYTE, np.uint8)
        self._start = GUARD + (-(self._bytes.ctypes.data + GUARD)) % 256
        self.inside[:] = POISON_BYTE

    @property
    def inside(self) -> np.ndarray:
        """The bytes between the guards, uint8 (size,), a view."""
        return self._bytes[self._start : self._start + self.size]

    @property
    def address(self) -> int:
        """Host address of the first usable byte."""
        return int(self._bytes.ctypes.data) + self._start

    def write(self, tensor: torch.Tensor) -> None:
        """Fill the front of the buffer with a contiguous CPU tensor."""
        data = tensor.contiguous().flatten().view(torch.uint8).numpy()
        self.inside[: data.size] = data

    def read(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A copy of the whole buffer as a CPU tensor."""
        return torch.from_numpy(self.inside.copy()).view(dtype).reshape(shape)

    def assert_guards_intact(self, name: str) -> None:
        """Raise AssertionError that names ``name`` where a byte outside has changed."""
        outside = np.concatenate([self._bytes[: self._start], self._bytes[self._start + self.size :]])
        touched = int((outside != GUARD_BYTE).sum())
        assert touched == 0, f"{touched} bytes outside {name} were written"
