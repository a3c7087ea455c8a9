"""All checks in order, each in a process of its own: a crash or a poisoned CUDA context ends one check, not the rest.

python -m mutualformer.export.checks.runner NAME --result FILE      (one check; what the processes run)
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mutualformer.export.checks import engines
from mutualformer.export.checks.launches import portable
from mutualformer.export.checks.rig import faults
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, CheckFailed, CheckSkipped, Outcome
from mutualformer.runtime.untrusted.typed_json import parse_json

_PACKAGE = "mutualformer.export.checks"


@dataclass(frozen=True)
class Check:
    """``module``: its file in this package, with ``check(machine) -> (sentence, numbers)``. ``minutes``: the most that
    it may take. ``environment``: set in its process."""

    name: str
    module: str
    minutes: int = 10
    environment: tuple[tuple[str, str], ...] = ()


CHECKS = (
    Check("machine", "facts"),
    Check("cubins", "images"),
    Check("numerics", "launches.numerics", minutes=20),
    Check("portable", "launches.portable", environment=tuple(portable.ENVIRONMENT.items())),
    Check("concurrency", "launches.concurrency"),
    Check("graph", "launches.graphs"),
    Check("pytorch", "launches.jit"),
    Check("session", "sessions"),
    Check("timing", "launches.timing"),
    Check("sanitizer", "sanitizer", minutes=45),
)

TENSORRT = "tensorrt"
"""The checks with TensorRT: one for each precision, in processes of their own already (engines.py)."""


def run_here(check: Check, emulated: bool, planted: str = "") -> Outcome:
    """Run one check in this process."""
    began = time.monotonic()

    def outcome(state: str, detail: str, numbers: dict[str, object] | None = None) -> Outcome:
        seconds = round(time.monotonic() - began, 2)
        return Outcome(check.name, state, " ".join(detail.split()), numbers or {}, emulated, seconds)

    try:
        function = importlib.import_module(f"{_PACKAGE}.{check.module}").check
        machine = Machine(emulated)
        if planted:
            faults.plant(machine, planted)
        with machine.current():
            sentence, numbers = function(machine)
        machine.close()
        return outcome(PASS, sentence, numbers)
    except CheckSkipped as reason:
        return outcome(SKIP, str(reason))
    except CheckFailed as reason:
        return outcome(FAIL, str(reason))
    except ModuleNotFoundError as error:
        return outcome(SKIP, f"Python package {error.name!r} is not installed")
    except Exception as error:  # a check that breaks has not passed
        return outcome(FAIL, f"the check itself broke: {type(error).__name__}: {error}")


def _ended(code: int) -> str:
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code} and no result"


def run_apart(check: Check, emulated: bool, planted: str = "") -> Outcome:
    """Run one check in a process of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutualformer-check-") as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", f"{_PACKAGE}.runner", check.name, "--result", str(result)]
        command += ["--emulate"] if emulated else []
        command += ["--plant", planted] if planted else []
        environment = {**os.environ, **dict(check.environment)}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([*sys.path[:1], root, environment.get("PYTHONPATH", "")])
        try:
            process = subprocess.run(
                command, env=environment, timeout=60 * check.minutes, capture_output=True, text=True
            )
            failed = _ended(process.returncode) + (
                f": {process.stderr.strip().splitlines()[-1]}" if process.stderr.strip() else ""
            )
        except subprocess.TimeoutExpired:
            failed = f"it did not end within {check.minutes} minutes"
        if result.is_file():
            return Outcome(**parse_json(result.read_text()))
    return Outcome(check.name, FAIL, failed, {}, emulated, round(time.monotonic() - began, 2))


def run_all(
    emulated: bool, names: Sequence[str] = (), planted: str = "", *, out: Path, model: Path | None = None
) -> Iterator[Outcome]:
    """Outcomes in order, as they come; all checks where ``names`` is empty. ``out``: where engines and reports go."""
    for check in CHECKS:
        if not names or check.name in names:
            yield run_apart(check, emulated, planted)
    if not names or TENSORRT in names:
        yield from engines.outcomes(out, model, emulated)


def main(argv: list[str] | None = None) -> int:
    """One check, its outcome as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {_PACKAGE}.runner")
    parser.add_argument("name", choices=[check.name for check in CHECKS])
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--plant", default="", choices=("", *faults.FAULTS))
    args = parser.parse_args(argv)
    check = next(check for check in CHECKS if check.name == args.name)
    outcome = run_here(check, args.emulate, args.plant)
    args.result.write_text(json.dumps(asdict(outcome), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
