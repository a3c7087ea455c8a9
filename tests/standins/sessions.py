"""Opens and closes sessions of one engine: right answers, the CUDA context as before, nothing left allocated.

python -m tests.standins.sessions [order|context|memory]       on the stand-in driver, with a fault where one is named
python -m tests.standins.sessions FILE.engine                  of a real engine, on a GPU

It counts what a session allocates call by call, because the device's free memory changes with every other program.
"""

from __future__ import annotations

import gc
import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session.base import Session
from mutualformer.runtime.session.cuda import Driver, open_driver
from mutualformer.runtime.session.engine_card import EngineCard
from mutualformer.runtime.session.tensorrt import EngineSession
from tests.standins.machine import EmulatedMachine
from tests.standins.tensorrt import SIZE, VERSION, Lifetimes, StandInTensorRT

_PAIRS = {
    "allocate": "free",
    "allocate_host": "free_host",
    "create_stream": "destroy_stream",
    "capture": "destroy_graph",
}


class Ledger:
    """Counts what a driver allocates and frees. ``alive``: kind → how many were not freed."""

    def __init__(self, driver: Driver) -> None:
        self.alive: Counter[str] = Counter()
        for make, drop in _PAIRS.items():
            setattr(driver, make, self._counting(getattr(driver, make), make, 1))
            setattr(driver, drop, self._counting(getattr(driver, drop), make, -1))

    def _counting(self, call: Callable[..., Any], kind: str, change: int) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            result = call(*arguments)
            self.alive[kind] += change
            return result

        return counted


def current_context(driver: Driver) -> int:
    """The CUDA context current on this thread; 0 for none, and with pycuda, which is not asked."""
    return int(driver.call("cuCtxGetCurrent"))


def _unchanged(driver: Driver, before: int, what: str) -> None:
    after = current_context(driver)
    if after != before:
        raise CheckFailed(f"{what} changed this thread's CUDA context from {before:#x} to {after:#x}")


def _inputs(session: Session, batch: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    arrays = {spec.name: random.random((batch, *spec.shape[1:])) for spec in session.contract.inputs}
    return {
        spec.name: (arrays[spec.name] * (255 if spec.dtype == "uint8" else 4)).astype(spec.dtype)
        for spec in session.contract.inputs
    }


def one(open_session: Callable[[], EngineSession], driver: Driver, ledger: Ledger, seed: int) -> None:
    """Open one session, call it rightly and wrongly, close it. Raises CheckFailed."""
    before = current_context(driver)
    session = open_session()
    _unchanged(driver, before, "opening a session")
    low, _, high = session.card.profile
    first: dict[int, Any] = {}
    for batch in (low, low, low, high, low):  # the third call replays a CUDA graph, another batch drops it
        answer = next(iter(session.run(**_inputs(session, batch, seed)).values()))
        if not np.array_equal(first.setdefault(batch, answer), answer):
            raise CheckFailed(f"the session's answers to the same batch of {batch} differ")
    try:
        session.run(**_inputs(session, high + 1, seed))
    except InputError:
        pass
    else:
        raise CheckFailed("a batch outside of the profile was accepted")
    _unchanged(driver, before, "running a session")
    session.close()
    _unchanged(driver, before, "closing a session")
    del session
    gc.collect()
    if left := {kind: count for kind, count in ledger.alive.items() if count}:
        raise CheckFailed(f"after close these were not given back: {left}")


def rounds(open_session: Callable[[], EngineSession], driver: Driver, opens: int) -> str:
    """``opens`` sessions, one after the other, in a thread without a CUDA context. Raises CheckFailed."""
    ledger = Ledger(driver)
    with ThreadPoolExecutor(1) as thread:
        for seed in range(opens):
            thread.submit(one, open_session, driver, ledger, seed).result()
    return f"{opens} sessions opened, run and closed: context as before, nothing left"


class WrongOrder(EngineSession):
    """Destroys the engine before its execution contexts."""

    def close(self) -> None:
        with self._driver.context():
            self._engine = self._runtime = None
        super().close()


class LeakedContext(EngineSession):
    """Leaves its CUDA context current."""

    def close(self) -> None:
        super().close()
        self._driver.call("cuCtxPushCurrent", self._driver.primary)


class LeakedMemory(EngineSession):
    """Keeps device memory."""

    def close(self) -> None:
        with self._driver.context():
            self._driver.allocate(1 << 20)
        super().close()


KINDS = {"": EngineSession, "order": WrongOrder, "context": LeakedContext, "memory": LeakedMemory}


def main() -> int:
    """Print what the rounds say; exit code 1 where they fail."""
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what.endswith(".engine"):
        print(rounds(lambda: EngineSession.open(Path(what)), open_driver(), 20))
        return 0
    kind = KINDS[what]
    machine = EmulatedMachine()
    record = Lifetimes(machine)
    driver = Driver(importlib.import_module("cuda.bindings.driver"))
    with tempfile.TemporaryDirectory(prefix="mutualformer-session-") as folder:
        engine = Path(folder) / "stand-in.engine"
        engine.write_bytes(b"stand-in")
        card = EngineCard(
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
            targets=(driver.capability,),
            built_on=driver.capability,
            rebuild="(stand-in)",
        )
        try:
            trt = StandInTensorRT(record)
            print(rounds(lambda: kind(engine, card, b"stand-in", trt, driver), driver, 3))  # type: ignore[arg-type]
            if record.problems:
                raise CheckFailed(f"wrong order of destruction: {record.problems[0]}")
            if any(record.alive.values()):
                raise CheckFailed(f"these still live: {record.alive}")
        except CheckFailed as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
