"""The acceptance's sessions over the stand-in driver: ``python -m tests.standins.sessions [order|context|memory]``."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.export.checks.sessions import rounds
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256
from mutualformer.runtime.session.cuda import Driver
from mutualformer.runtime.session.engine_card import EngineCard
from mutualformer.runtime.session.tensorrt import EngineSession
from tests.standins.machine import EmulatedMachine
from tests.standins.tensorrt import SIZE, VERSION, Lifetimes, StandInTensorRT


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
        self._driver.call("cuCtxPushCurrent", self._driver._primary)


class LeakedMemory(EngineSession):
    """Keeps device memory."""

    def close(self) -> None:
        with self._driver.context():
            self._driver.allocate(1 << 20)
        super().close()


KINDS = {"": EngineSession, "order": WrongOrder, "context": LeakedContext, "memory": LeakedMemory}


def main() -> int:
    """Print what the rounds say; exit code 1 where they fail."""
    kind = KINDS[sys.argv[1] if len(sys.argv) > 1 else ""]
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
