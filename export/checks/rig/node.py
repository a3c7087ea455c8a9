"""One CDA node on the machine under test: created as TensorRT creates it, in poisoned and guarded device memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import torch

from mutualformer.export.checks.rig.cases import Case
from mutualformer.export.checks.rig.driver import CudaDriver
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.harness.buffers import GUARD, GUARD_BYTE, POISON_BYTE
from mutualformer.plugins.harness.harness import Engine
from mutualformer.runtime.session.cuda import CudaError


class DeviceBuffer:
    """Device memory between guard bytes, poisoned with NaN: ``plugins.standins.buffers.Buffer`` on a device."""

    def __init__(self, driver: CudaDriver, size: int) -> None:
        self._driver, self.size = driver, size
        self._base = driver.allocate(size + 2 * GUARD)
        driver.fill(self._base, GUARD_BYTE, size + 2 * GUARD)
        self.poison()

    @property
    def address(self) -> int:
        """Device address of the first byte behind the front guard."""
        return self._base + GUARD

    def poison(self) -> None:
        """Fill everything between the guards with bytes that are NaN in every float type."""
        if self.size:
            self._driver.fill(self.address, POISON_BYTE, self.size)

    def write(self, tensor: torch.Tensor) -> None:
        """Copy ``tensor``, any shape and type, to the beginning of the buffer."""
        data = tensor.contiguous()
        self._driver.copy_in(self.address, data.data_ptr(), data.numel() * data.element_size())

    def read(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The beginning of the buffer as a new tensor on the CPU."""
        result = torch.empty(shape, dtype=dtype)
        self._driver.copy_out(result.data_ptr(), self.address, result.numel() * result.element_size())
        return result

    def assert_guards_intact(self, name: str) -> None:
        """Raise AssertionError that names ``name`` where a byte of either guard has changed."""
        guards = torch.empty(2, GUARD, dtype=torch.uint8)
        for row, address in zip(guards, (self._base, self.address + self.size), strict=True):
            self._driver.copy_out(row.data_ptr(), address, GUARD)
        touched = int((guards != GUARD_BYTE).sum())
        if touched:
            raise AssertionError(f"{touched} bytes outside {name} were written")

    def free(self) -> None:
        """Give the memory back, guards included; wants the context it was allocated in."""
        self._driver.free(self._base)


class Node:
    """A node in an execution context, with its buffers; open it with :func:`opened`."""

    def __init__(self, machine: Machine, case: Case, tactic: int = 0) -> None:
        """``tactic``: which of the plugin's tiles, as TensorRT would have chosen; 0 for its default."""
        self.machine, self.case = machine, case
        self.buffers: list[DeviceBuffer] = []
        self.stream = machine.driver.create_stream()
        self.engine = Engine(
            machine.harness, case.attributes, case.shape, case.torch_dtype, allocate=self._allocate, tactic=tactic
        )

    def _allocate(self, size: int) -> DeviceBuffer:
        self.buffers.append(DeviceBuffer(self.machine.driver, size))
        return self.buffers[-1]

    def change_case(self, case: Case) -> None:
        """Another shape, at most as large, on the same execution context, in fresh buffers."""
        self.case = case
        for buffer in self.buffers:
            buffer.free()
        self.buffers.clear()
        self.engine.reshape(case.shape)

    def poison(self) -> None:
        """NaN into outputs and workspace."""
        for buffer in (*self.engine.outputs, self.engine.scratch):
            cast(DeviceBuffer, buffer).poison()  # what _allocate made

    def enqueue(self, stream: int | None = None) -> None:
        """Queue the node on a stream, its own by default. Raises CheckFailed with the plugin's own words."""
        if self.engine.enqueue(self.stream if stream is None else stream) != 0:
            raise CheckFailed(f"{self.case}: enqueue failed: {self.log()}")

    def run(
        self, qkv_r: torch.Tensor, qkv_d: torch.Tensor, stream: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy in, enqueue, wait; y_r and y_d on the CPU."""
        self.engine.write(qkv_r, qkv_d)
        self.enqueue(stream)
        self.machine.driver.synchronize_stream(self.stream if stream is None else stream)
        return self.engine.result()

    def check_memory(self, qkv_r: torch.Tensor, qkv_d: torch.Tensor) -> None:
        """Guards whole and inputs as they were written."""
        try:
            self.engine.assert_nothing_else_written(qkv_r, qkv_d)
        except AssertionError as error:
            raise CheckFailed(f"{self.case}: {error}") from error

    def log(self) -> str:
        """What the plugin said, and what the interpreter raised."""
        return " ".join((self.machine.harness.log().strip() + " " + self.machine.interpreter_error()).split())

    def close(self) -> None:
        """Destroy the plugin, its buffers and its stream, in that order; wants the machine's context."""
        self.engine.close()
        for buffer in self.buffers:
            buffer.free()
        self.machine.driver.destroy_stream(self.stream)


@contextlib.contextmanager
def opened(machine: Machine, case: Case, tactic: int = 0) -> Iterator[Node]:
    """A node on the current context. Raises CheckFailed where the plugin refuses or the driver fails."""
    try:
        node = Node(machine, case, tactic)
    except (AssertionError, CudaError) as error:
        raise CheckFailed(f"{case}: the plugin cannot be prepared: {error}") from error
    try:
        yield node
    except CudaError as error:
        raise CheckFailed(f"{case}: {error}; {node.log()}".rstrip("; ")) from error
    finally:
        with contextlib.suppress(CudaError):  # after a broken launch every call fails
            node.close()
