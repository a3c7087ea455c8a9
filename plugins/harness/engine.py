"""Takes one CDA node from creation to an execution context, with its buffers, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.plugins.harness.harness import Harness
from mutualformer.plugins.harness.numbers import STORED

TYPES = {"fp32": 0, "fp16": 1, "bf16": 7}  # nvinfer1::DataType
Array = NDArray[Any]


class Memory(Protocol):
    """A buffer of an engine, in host or device memory."""

    @property
    def address(self) -> int:
        """Address of the first usable byte, a multiple of 256."""

    def write(self, array: Array) -> None:
        """Copy ``array`` to the beginning of the buffer."""

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A copy of the beginning of the buffer."""
        ...

    def assert_guards_intact(self, name: str) -> None:
        """AssertionError where a byte beside the buffer was written."""


class Engine:
    """A node created, configured, serialised, read back, cloned and attached, as TensorRT does it.

    Arrays are (B, N, 3C) going in and (B, N, 2C) coming out, in the type's stored form (:data:`numbers.STORED`).
    Raises AssertionError with the plugin's message where it refuses.
    """

    def __init__(
        self,
        harness: Harness,
        attributes: CdaAttributes,
        shape: tuple[int, int, int],
        dtype: str,
        allocate: Callable[[int], Memory],
        tactic: int = 0,
    ) -> None:
        """``dtype``: fp32, fp16 or bf16. ``tactic``: TensorRT's choice at build time, 0 for none."""
        self.allocate = allocate
        self.harness, self.attributes, self.kind = harness, attributes, TYPES[dtype]
        self.stored: np.dtype[Any] = STORED[dtype]
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
        """Set the input shape. The workspace keeps the size for the first (largest) shape, as in TensorRT."""
        batch, tokens, width = shape
        assert self.harness.shape(self.plugin, self.kind, shape) == 0, self.harness.log()
        size = self.stored.itemsize
        self.in_shape, self.out_shape = shape, (batch, tokens, width // 3 * 2)
        self.inputs = [self.allocate(batch * tokens * width * size) for _ in range(2)]
        self.outputs = [self.allocate(batch * tokens * width // 3 * 2 * size) for _ in range(2)]
        self.scratch = self.allocate(self.workspace_bytes)

    def write(self, qkv_r: Array, qkv_d: Array) -> None:
        """Copy the inputs into their buffers."""
        for buffer, qkv in zip(self.inputs, (qkv_r, qkv_d), strict=True):
            buffer.write(qkv)

    def enqueue(self, stream: int) -> int:
        """Queue the node on the contents of its buffers; 0 is success."""
        addresses = [b.address for b in (*self.inputs, *self.outputs, self.scratch)]
        return self.harness.enqueue(self.plugin, *addresses, stream)

    def result(self) -> tuple[Array, Array]:
        """``y_r`` and ``y_d``, copied out of their buffers."""
        y_r, y_d = (b.read(self.out_shape, self.stored) for b in self.outputs)
        return y_r, y_d

    def assert_nothing_else_written(self, qkv_r: Array, qkv_d: Array) -> None:
        """Raise AssertionError where a guard or an input has changed."""
        names = ("qkv_r", "qkv_d", "y_r", "y_d", "workspace")
        for name, buffer in zip(names, (*self.inputs, *self.outputs, self.scratch), strict=True):
            buffer.assert_guards_intact(name)
        for buffer, qkv in zip(self.inputs, (qkv_r, qkv_d), strict=True):
            same = np.array_equal(buffer.read(self.in_shape, self.stored), qkv)
            assert same, "an input was written"

    def close(self) -> None:
        """Release the plugin; the buffers go with this object."""
        self.harness.destroy(self.plugin)
