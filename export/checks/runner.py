"""All checks in order, each in a process of its own: a crash or a poisoned CUDA context ends one check, not the rest.

python -m mutualformer.export.checks.runner NAME --result FILE --seconds S     (one check; what the processes run)
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mutualformer.export.checks import engines
from mutualformer.export.checks.launches import portable
from mutualformer.export.checks.names import SHARES
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, CheckFailed, CheckSkipped, Outcome
from mutualformer.runtime.untrusted.typed_json import parse_json

_PACKAGE = "mutualformer.export.checks"
_SLOWEST, _START_S = 4, 120.0
"""A check may take so many times what it plans with, and so many seconds to start, before it counts as hanging."""

_PLAIN = {"NVIDIA_TF32_OVERRIDE": "0", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0"}
"""What containers set to make FP32 products faster and less exact."""


@dataclass(frozen=True)
class Check:
    """``module``: its file in this package, with ``check(machine) -> (sentence, numbers)``. ``environment``: set in its
    process."""

    name: str
    module: str
    environment: tuple[tuple[str, str], ...] = ()


CHECKS = (
    Check("machine", "facts"),
    Check("cubins", "images"),
    Check("numerics", "launches.numerics"),
    Check("portable", "launches.portable", tuple(portable.ENVIRONMENT.items())),
    Check("concurrency", "launches.concurrency"),
    Check("graph", "launches.graphs"),
    Check("pytorch", "launches.jit"),
    Check("timing", "launches.timing"),
    Check("sanitizer", "sanitizer"),
)

TENSORRT = "tensorrt"
"""The checks with TensorRT: in processes of their own already (engines.py)."""


def run_here(check: Check, open_machine: Callable[[], Machine]) -> Outcome:
    """Run one check in this process."""
    began = time.monotonic()

    def outcome(state: str, detail: str, numbers: dict[str, object] | None = None) -> Outcome:
        return Outcome(check.name, state, " ".join(detail.split()), numbers or {}, round(time.monotonic() - began, 2))

    try:
        function = importlib.import_module(f"{_PACKAGE}.{check.module}").check
        machine = open_machine()
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


def run_apart(check: Check, seconds: float, module: str = f"{_PACKAGE}.runner", words: Sequence[str] = ()) -> Outcome:
    """Run one check in a process of its own, ``python -m module NAME --result FILE --seconds S``."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutualformer-check-") as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", module, check.name, "--result", str(result), "--seconds", f"{seconds:.1f}"]
        environment = {**os.environ, **_PLAIN, **dict(check.environment)}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([*sys.path[:1], root, environment.get("PYTHONPATH", "")])
        most = _START_S + _SLOWEST * seconds
        try:
            process = subprocess.run([*command, *words], env=environment, timeout=most, capture_output=True, text=True)
            failed = _ended(process.returncode) + (
                f": {process.stderr.strip().splitlines()[-1]}" if process.stderr.strip() else ""
            )
        except subprocess.TimeoutExpired:
            failed = f"it did not end within {most:.0f} s"
        if result.is_file():
            return Outcome(**parse_json(result.read_text()))
    return Outcome(check.name, FAIL, failed, {}, round(time.monotonic() - began, 2))


def run_all(names: Sequence[str], minutes: float, out: Path, model: Path | None, capability: str) -> Iterator[Outcome]:
    """Outcomes in order, as they come; all checks where ``names`` is empty. ``out``: where engines and reports go;
    ``capability``: of this GPU, e.g. "8.7".

    What a check does not use of its share of ``minutes`` goes to those after it.
    """
    chosen = [check for check in CHECKS if not names or check.name in names]
    shares = [SHARES[check.name] for check in chosen] + [SHARES[TENSORRT] if not names or TENSORRT in names else 0.0]
    began, total = time.monotonic(), 60 * minutes

    def planned(index: int) -> float:
        left = total - (time.monotonic() - began)
        return max(1.0, left * shares[index] / sum(shares[index:]))

    for index, check in enumerate(chosen):
        yield run_apart(check, planned(index))
    if shares[-1]:
        yield from engines.outcomes(out, model, capability, planned(len(chosen)))


def main(argv: list[str] | None = None) -> int:
    """One check, its outcome as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {_PACKAGE}.runner")
    parser.add_argument("name", choices=[check.name for check in CHECKS])
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args(argv)
    check = next(check for check in CHECKS if check.name == args.name)
    outcome = run_here(check, lambda: Machine(seconds=args.seconds))
    args.result.write_text(json.dumps(asdict(outcome), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
