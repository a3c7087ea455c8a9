"""Faults that can be planted on the stand-in driver, each with the check that must then FAIL."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.standins.driver import Intercept
from tests.standins.machine import EmulatedMachine


@dataclass(frozen=True)
class Fault:
    """``caught_by``: name of the check that must fail."""

    what: str
    caught_by: str
    plant: Callable[[EmulatedMachine], None]


def _wrong_cubin(machine: EmulatedMachine) -> None:
    """Two kernels of the same architecture change places in the blob, as a build with stale files would leave them."""
    first = machine.native_images()[0]
    blob, middle = bytearray(machine.blob), first["offset"] + first["size"] // 2
    blob[middle] ^= 0xFF
    machine.blob = bytes(blob)


def _intercepting(intercept: Intercept) -> Callable[[EmulatedMachine], None]:
    def plant(machine: EmulatedMachine) -> None:
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


def _no_room(machine: EmulatedMachine) -> None:
    """A multiprocessor that holds fewer warps than one block has."""
    machine.stand_in.library.test_driver_set_limits(2, 164 * 1024, 1024)


def _kernels_unused(_machine: EmulatedMachine) -> None:
    from mutualformer.plugins.kernels import dispatch

    dispatch.serves = lambda *_: False


FAULTS = {
    "wrong-cubin": Fault("one cubin has a changed byte", "cubins", _wrong_cubin),
    "dropped-launch": Fault("cda_columns is never run", "numerics", _intercepting(_without_columns)),
    "wrong-stride": Fault("rows are read one width too narrow", "numerics", _intercepting(_narrower_rows)),
    "drifting-launch": Fault("every launch differs a little from the last", "graph", _intercepting(_drifting())),
    "one-token-more": Fault("kernels get one token too many", "sanitizer", _intercepting(_one_token_more)),
    "kernels-unused": Fault("PyTorch's inference passes our kernels by", "pytorch", _kernels_unused),
    "no-room": Fault("the driver finds room for no block on a multiprocessor", "cubins", _no_room),
}
