"""Faults that can be planted on the stand-in driver, each with the check that must then FAIL: proof that checks check.

mutualformer acceptance --out DIR --plant dropped-launch
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed


@dataclass(frozen=True)
class Fault:
    """``caught_by``: name of the check that must fail."""

    what: str
    caught_by: str
    plant: Callable[[Machine], None]


def _wrong_cubin(machine: Machine) -> None:
    """Two kernels of the same architecture change places in the blob, as a build with stale files would leave them."""
    first = machine.native_images()[0]
    blob, middle = bytearray(machine.blob), first["offset"] + first["size"] // 2
    blob[middle] ^= 0xFF
    machine.blob = bytes(blob)


def _intercepting(intercept: Callable[[str, list[str], list[Any]], list[Any] | None]) -> Callable[[Machine], None]:
    def plant(machine: Machine) -> None:
        if machine.stand_in is not None:
            machine.stand_in.intercept = intercept

    return plant


def _without_columns(kernel: str, _names: list[str], values: list[Any]) -> list[Any] | None:
    return None if kernel.startswith("cda_columns") else values


def _narrower_rows(_kernel: str, names: list[str], values: list[Any]) -> list[Any]:
    """The first width above one becomes one less: every row after the first is read from the wrong place."""
    changed = list(values)
    for i, name in enumerate(names):
        if name.endswith("_width") and changed[i] > 1:
            changed[i] -= 1
            return changed
    return changed


def _one_token_more(_kernel: str, names: list[str], values: list[Any]) -> list[Any]:
    return [value + 1 if name == "tokens" else value for name, value in zip(names, values, strict=True)]


def _drifting() -> Callable[[str, list[str], list[Any]], list[Any]]:
    """Every launch computes with a slightly larger scale than the one before it."""
    launches = itertools.count()

    def intercept(_kernel: str, names: list[str], values: list[Any]) -> list[Any]:
        growth = 1 + 0.01 * next(launches)
        return [v * growth if name == "scale_log2" else v for name, v in zip(names, values, strict=True)]

    return intercept


def _session(kind: str) -> Callable[[Machine], None]:
    def plant(machine: Machine) -> None:
        from mutualformer.runtime.session.tensorrt import EngineSession

        class WrongOrder(EngineSession):
            def close(self) -> None:
                with self._driver.context():
                    self._engine = self._runtime = None
                super().close()

        class LeakedContext(EngineSession):
            def close(self) -> None:
                super().close()
                self._driver.push()

        class LeakedMemory(EngineSession):
            def close(self) -> None:
                with self._driver.context():
                    self._driver.allocate(1 << 20)
                super().close()

        machine.session_class = {"order": WrongOrder, "context": LeakedContext, "memory": LeakedMemory}[kind]

    return plant


def _kernels_unused(_machine: Machine) -> None:
    from mutualformer.plugins.kernels import dispatch

    dispatch.serves = lambda *_: False


FAULTS = {
    "wrong-cubin": Fault("one cubin has a changed byte", "cubins", _wrong_cubin),
    "dropped-launch": Fault("cda_columns is never run", "numerics", _intercepting(_without_columns)),
    "wrong-stride": Fault("rows are read one width too narrow", "numerics", _intercepting(_narrower_rows)),
    "drifting-launch": Fault("every launch differs a little from the last", "graph", _intercepting(_drifting())),
    "one-token-more": Fault("kernels are told one token too many", "sanitizer", _intercepting(_one_token_more)),
    "kernels-unused": Fault("PyTorch's inference passes our kernels by", "pytorch", _kernels_unused),
    "wrong-close-order": Fault("the engine is destroyed before its contexts", "session", _session("order")),
    "leaked-context": Fault("closing a session leaves its context current", "session", _session("context")),
    "leaked-memory": Fault("closing a session keeps device memory", "session", _session("memory")),
}


def plant(machine: Machine, name: str) -> None:
    """Plant one of :data:`FAULTS`. Raises CheckFailed on a real GPU, where nothing is planted."""
    if not machine.emulated:
        raise CheckFailed(f"{name} can be planted on the stand-in driver only; run with --emulate")
    machine.planted = name
    FAULTS[name].plant(machine)
