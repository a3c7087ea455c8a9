"""Check 8: the engine session over this driver: order of destruction, CUDA contexts, memory, errors."""

from __future__ import annotations

import gc
import importlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session.cuda import BindingsDriver, CudaError, Driver, open_driver
from mutualformer.runtime.session.engine_card import EngineCard
from mutualformer.runtime.session.tensorrt import EngineSession
from tests.standins.tensorrt import SIZE, VERSION, Lifetimes, StandInTensorRT

_SLACK = 4 << 20  # bytes that a driver may keep for itself, or another program takes meanwhile


def _card(machine: Machine, engine: Path) -> EngineCard:
    capability = f"{machine.capability // 10}.{machine.capability % 10}"
    return EngineCard(
        contract=Contract("sod", "sod-nano", SIZE),
        flavor="tensorrt",
        builder_version=VERSION,
        onnx_sha256="",
        plugin_sha256="",
        engine_sha256=sha256(engine),
        requested_precision="fp32",
        actual_precision={},
        profile=(1, 1, 2),
        cda_nodes=0,
        plugin_layers=0,
        targets=(capability,),
        built_on=capability,
        rebuild="(stand-in)",
    )


def _driver(machine: Machine) -> Driver:
    """The session's own driver layer on this machine. Raises CheckSkipped where its Python package is missing."""
    try:
        if machine.emulated:
            return BindingsDriver(importlib.import_module("cuda.bindings.driver"))
        return open_driver()
    except ModuleNotFoundError as error:
        raise CheckSkipped("Python package cuda-bindings is not installed; pip install cuda-bindings") from error
    except CudaError as error:
        raise CheckSkipped(f"{error}") from error


class _Rounds:
    """Sessions opened, run and closed; what must be the same before and after."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.record, self.driver = machine, Lifetimes(machine), _driver(machine)
        self.engine = folder / "stand-in.engine"
        self.engine.write_bytes(b"stand-in")
        self.card = _card(machine, self.engine)

    def session(self) -> EngineSession:
        trt = StandInTensorRT(self.record)
        kind = self.machine.session_class or EngineSession
        return kind(self.engine, self.card, self.engine.read_bytes(), trt, self.driver)  # type: ignore[arg-type]

    def one(self, seed: int) -> None:
        """Open, a right and a wrong call, close. Raises CheckFailed."""
        before = self.machine.driver.current_context()
        session = self.session()
        self._unchanged(before, "opening a session")
        random = np.random.default_rng(seed)
        for batch in (1, 1, 1, 2):  # the second and third call replay a CUDA graph, another batch drops it
            inputs = {
                "rgb": random.integers(0, 256, (batch, *SIZE, 3), np.uint8),
                "depth": random.random((batch, *SIZE), np.float32),
            }
            if not np.array_equal(session.run(**inputs)["saliency"], inputs["depth"]):
                raise CheckFailed(f"the session's answer to a batch of {batch} is not the engine's")
        try:
            session.run(rgb=np.zeros((3, *SIZE, 3), np.uint8), depth=np.zeros((3, *SIZE), np.float32))
        except InputError:
            pass
        else:
            raise CheckFailed("a batch outside of the profile was accepted")
        self._unchanged(before, "running a session")
        session.close()
        self._unchanged(before, "closing a session")
        del session
        gc.collect()
        if self.record.problems:
            raise CheckFailed(f"wrong order of destruction: {self.record.problems[0]}")
        alive = {kind: count for kind, count in self.record.alive.items() if count}
        if alive:
            raise CheckFailed(f"after close these still live: {alive}")

    def _unchanged(self, before: int, what: str) -> None:
        after = self.machine.driver.current_context()
        if after != before:
            raise CheckFailed(f"{what} changed this thread's CUDA context from {before:#x} to {after:#x}")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 8. Raises CheckFailed, or CheckSkipped without cuda-bindings and pycuda."""
    # In a thread of its own, which has no CUDA context: one that a session leaves behind is seen.
    with tempfile.TemporaryDirectory(prefix="mutualformer-session-") as folder, ThreadPoolExecutor(1) as thread:
        rounds = _Rounds(machine, Path(folder))
        thread.submit(rounds.one, 0).result()
        free = machine.driver.free_bytes()
        for seed in range(1, machine.amount.opens):
            thread.submit(rounds.one, seed).result()
        lost = free - machine.driver.free_bytes()
    if lost > (0 if machine.emulated else _SLACK):
        raise CheckFailed(f"{machine.amount.opens} sessions opened and closed lost {lost} bytes of device memory")
    sentence = f"{machine.amount.opens} sessions opened, run, closed: right order, context as before, no memory lost"
    return sentence, {"opens": machine.amount.opens, "driver": rounds.driver.package, "lost_bytes": max(0, lost)}
