"""Buffers that notice what was written beside them: host memory between guard bytes, poisoned with NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.export.checks.rig.node import GUARD, GUARD_BYTE, POISON_BYTE


class Buffer:
    """Host memory on a 256-byte boundary between guard bytes; starts as NaN in every float type."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = np.full(size + 2 * GUARD + 256, GUARD_BYTE, np.uint8)
        self._start = GUARD + (-(self._bytes.ctypes.data + GUARD)) % 256
        self.inside[:] = POISON_BYTE

    @property
    def inside(self) -> NDArray[np.uint8]:
        """The bytes between the guards, uint8 (size,), a view."""
        return self._bytes[self._start : self._start + self.size]

    @property
    def address(self) -> int:
        """Host address of the first usable byte."""
        return int(self._bytes.ctypes.data) + self._start

    def write(self, array: NDArray[Any]) -> None:
        """Fill the front of the buffer."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.inside[: data.size] = data

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A copy of the whole buffer."""
        return self.inside.copy().view(dtype).reshape(shape)

    def assert_guards_intact(self, name: str) -> None:
        """Raise AssertionError that names ``name`` where a byte outside has changed."""
        outside = np.concatenate([self._bytes[: self._start], self._bytes[self._start + self.size :]])
        touched = int((outside != GUARD_BYTE).sum())
        assert touched == 0, f"{touched} bytes outside {name} were written"
