"""One CDA node on the machine under test: created as TensorRT creates it, in poisoned and guarded device memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.driver import CheckDriver
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.harness.engine import Engine
from mutualformer.runtime.session.cuda import CudaError

Array = NDArray[Any]
GUARD = 4096  # bytes on either side of a guarded buffer
GUARD_BYTE, POISON_BYTE = 0xA5, 0xFF  # 0xFF… is NaN in every float type


class ExactBuffer:
    """Device memory of exactly ``size`` bytes, not initialised, so that compute-sanitizer sees every stray access."""

    guard = 0

    def __init__(self, driver: CheckDriver, size: int) -> None:
        self._driver, self.size = driver, size
        self._base = driver.allocate(max(1, size) + 2 * self.guard)
        self.address = int(self._base) + self.guard
        """Device address of the first usable byte."""

    def poison(self) -> None:
        """Do nothing: the sanitizer must still see which bytes were never written."""

    def write(self, array: Array) -> None:
        """Copy ``array`` to the beginning of the buffer."""
        data = np.ascontiguousarray(array)
        self._driver.call("cuMemcpyHtoD", self.address, data.ctypes.data, data.nbytes)

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The beginning of the buffer as a new array."""
        result = np.empty(shape, dtype)
        self._driver.call("cuMemcpyDtoH", result.ctypes.data, self.address, result.nbytes)
        return result

    def assert_guards_intact(self, name: str) -> None:
        """Do nothing: there are no guards, the sanitizer watches."""

    def free(self) -> None:
        """Free the memory; the context it was allocated in must be current."""
        self._driver.free(self._base)


class GuardedBuffer(ExactBuffer):
    """Device memory between guard bytes, poisoned with NaN."""

    guard = GUARD

    def __init__(self, driver: CheckDriver, size: int) -> None:
        super().__init__(driver, size)
        driver.call("cuMemsetD8", self.address - GUARD, GUARD_BYTE, size + 2 * GUARD)
        self.poison()

    def poison(self) -> None:
        """Fill the buffer, not its guards, with bytes that are NaN in every float type."""
        if self.size:
            self._driver.call("cuMemsetD8", self.address, POISON_BYTE, self.size)

    def assert_guards_intact(self, name: str) -> None:
        """Raise AssertionError that names ``name`` where a byte of either guard has changed."""
        guards = np.empty((2, GUARD), np.uint8)
        for row, address in zip(guards, (self.address - GUARD, self.address + self.size), strict=True):
            self._driver.call("cuMemcpyDtoH", row.ctypes.data, address, GUARD)
        touched = int((guards != GUARD_BYTE).sum())
        if touched:
            raise AssertionError(f"{touched} bytes outside {name} were written")


class Node:
    """A node in an execution context, with its buffers; open it with :func:`opened`."""

    def __init__(
        self,
        machine: Machine,
        case: Case,
        tactic: int = 0,
        buffer: Callable[[CheckDriver, int], ExactBuffer] = GuardedBuffer,
    ) -> None:
        """``tactic``: which of the plugin's tiles, as TensorRT would have chosen; 0 for its default."""
        self.machine, self.case, self._buffer = machine, case, buffer
        self.buffers: list[ExactBuffer] = []
        self.stream = machine.driver.create_stream()
        self.engine = Engine(machine.harness, case.attributes, case.shape, case.dtype, self._allocate, tactic)

    def _allocate(self, size: int) -> ExactBuffer:
        self.buffers.append(self._buffer(self.machine.driver, size))
        return self.buffers[-1]

    def change_case(self, case: Case) -> None:
        """Set another shape, at most as large, on the same execution context, with new buffers."""
        self.case = case
        for buffer in self.buffers:
            buffer.free()
        self.buffers.clear()
        self.engine.reshape(case.shape)

    def poison(self) -> None:
        """Fill outputs and workspace with NaN."""
        for buffer in self.buffers[2:]:
            buffer.poison()

    def enqueue(self, stream: Any = None) -> None:
        """Queue the node on a stream, its own by default. Raises CheckFailed with the plugin's message."""
        if self.engine.enqueue(int(stream or self.stream)) != 0:
            raise CheckFailed(f"{self.case}: enqueue failed: {self.machine.words()}")

    def run(self, qkv_r: Array, qkv_d: Array) -> tuple[Array, Array]:
        """Copy in, enqueue, wait; y_r and y_d."""
        self.engine.write(qkv_r, qkv_d)
        self.enqueue()
        self.machine.driver.synchronize(self.stream)
        return self.engine.result()

    def check_memory(self, qkv_r: Array, qkv_d: Array) -> None:
        """Raise CheckFailed where a guard or an input has changed."""
        try:
            self.engine.assert_nothing_else_written(qkv_r, qkv_d)
        except AssertionError as error:
            raise CheckFailed(f"{self.case}: {error}") from error

    def close(self) -> None:
        """Destroy the plugin, its buffers and its stream, in that order, in the machine's context."""
        self.engine.close()
        for buffer in self.buffers:
            buffer.free()
        self.machine.driver.destroy_stream(self.stream)


@contextlib.contextmanager
def opened(
    machine: Machine,
    case: Case,
    tactic: int = 0,
    buffer: Callable[[CheckDriver, int], ExactBuffer] = GuardedBuffer,
) -> Iterator[Node]:
    """A node on the current context. Raises CheckFailed where the plugin refuses or the driver fails."""
    try:
        node = Node(machine, case, tactic, buffer)
    except (AssertionError, CudaError) as error:
        raise CheckFailed(f"{case}: the plugin cannot be prepared: {error}") from error
    try:
        yield node
    except CudaError as error:
        raise CheckFailed(f"{case}: {error}; {machine.words()}".rstrip("; ")) from error
    finally:
        with contextlib.suppress(CudaError):  # after a broken launch every call fails
            node.close()
