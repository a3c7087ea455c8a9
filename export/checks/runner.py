"""Runs the checks in order, each in its own process: a crash or a broken CUDA context ends one check, not the rest.

python -m mutualformer.export.checks.runner NAME --result FILE --seconds S     (one check; what those processes run)
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mutualformer.export.checks import engines
from mutualformer.export.checks.names import CHECKS
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import FAIL, Outcome, carried_out
from mutualformer.runtime.untrusted.typed_json import parse_json

_PACKAGE = "mutualformer.export.checks"
_SLOWEST, _START_S = 4, 120.0
"""A check hangs once it has taken 4 times the seconds it plans with, and 120 s to start."""

_EXACT = {"NVIDIA_TF32_OVERRIDE": "0", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0"}
"""Containers set these to compute FP32 products in TF32, which is faster and less exact."""


def run_here(name: str, open_machine: Callable[[], Machine]) -> Outcome:
    """Run one check in this process."""

    def step() -> tuple[str, dict[str, Any]]:
        check = importlib.import_module(f"{_PACKAGE}.{CHECKS[name].module}").check
        machine = open_machine()
        with machine.driver.context():
            found: tuple[str, dict[str, Any]] = check(machine)
        machine.close()
        return found

    return carried_out(name, step)


def _ended(code: int) -> str:
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code} and no result"


def run_apart(name: str, seconds: float, module: str = f"{_PACKAGE}.runner", words: Sequence[str] = ()) -> Outcome:
    """Run one check in a process of its own, ``python -m module NAME --result FILE --seconds S``."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutualformer-check-") as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", module, name, "--result", str(result), "--seconds", f"{seconds:.1f}"]
        environment = {**os.environ, **_EXACT, **(CHECKS[name].environment if name in CHECKS else {})}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([*sys.path[:1], root, environment.get("PYTHONPATH", "")])
        most = _START_S + _SLOWEST * seconds
        try:
            process = subprocess.run([*command, *words], env=environment, timeout=most, capture_output=True, text=True)
            failed = ": ".join([_ended(process.returncode), *process.stderr.strip().splitlines()[-1:]])
        except subprocess.TimeoutExpired:
            failed = f"it did not end within {most:.0f} s"
        if result.is_file():
            return Outcome(**parse_json(result.read_text()))
    return Outcome(name, FAIL, failed, {}, round(time.monotonic() - began, 2))


def run_all(names: Sequence[str], minutes: float, out: Path, model: Path | None, capability: str) -> Iterator[Outcome]:
    """Outcomes in order, as they come; all checks where ``names`` is empty. ``out``: folder for engines and reports;
    ``capability``: of this GPU, e.g. "8.7".

    What a check leaves of its share of ``minutes`` goes to those after it.
    """
    chosen = [name for name in CHECKS if not names or name in names]
    end = time.monotonic() + 60 * minutes
    for index, name in enumerate(chosen):
        part = CHECKS[name].share / sum(CHECKS[later].share for later in chosen[index:])
        seconds = max(1.0, (end - time.monotonic()) * part)
        if CHECKS[name].module:
            yield run_apart(name, seconds)
        else:  # TensorRT's steps are processes of their own already
            yield from engines.outcomes(out, model, capability, seconds)


def main(argv: list[str] | None = None) -> int:
    """One check, its outcome as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {_PACKAGE}.runner")
    parser.add_argument("name", choices=[name for name, check in CHECKS.items() if check.module])
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args(argv)
    outcome = run_here(args.name, lambda: Machine(seconds=args.seconds))
    args.result.write_text(json.dumps(asdict(outcome), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
