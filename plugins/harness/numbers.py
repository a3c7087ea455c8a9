"""The three types of the kernels in NumPy, which has no BF16: arrays hold its bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STORED: dict[str, np.dtype[Any]] = {"fp32": np.dtype("f4"), "fp16": np.dtype("f2"), "bf16": np.dtype("u2")}
"""Type → dtype of the arrays that store it."""

EPSILON = {"fp32": 2.0**-23, "fp16": 2.0**-10, "bf16": 2.0**-7}
"""Type → the distance from 1 to the next number."""


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Bits → values, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(x: NDArray[Any]) -> NDArray[np.uint16]:
    """Values → bits, to nearest even as the hardware rounds."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def encode(x: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values, rounded to ``dtype``, in its stored form."""
    return to_bfloat16(x) if dtype == "bf16" else x.astype(STORED[dtype])


def decode(stored: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """The values that an array of ``dtype`` holds, as float32."""
    return from_bfloat16(stored) if dtype == "bf16" else stored.astype(np.float32)
