"""Check 10: compute-sanitizer's four tools over six small nodes; without a GPU what the stand-in driver can see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins.compile.headers import package_folder

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
_FOUND = 86  # exit code that says the tool found something, unlike any of the program's own
_TIMEOUT_S = 600
_SUBJECT = "mutualformer.export.checks.rig.subject"


def find() -> Path | None:
    """compute-sanitizer: on PATH, of a CUDA toolkit, or of NVIDIA's wheels."""
    candidates = [shutil.which("compute-sanitizer")]
    homes = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    homes += [folder for name in ("nvidia.cu13", "nvidia.cuda_sanitizer_api") if (folder := package_folder(name))]
    for home in homes:
        candidates += [str(home / inside / "compute-sanitizer") for inside in ("bin", "compute-sanitizer")]
    return next((Path(path) for path in candidates if path and os.access(path, os.X_OK) and Path(path).is_file()), None)


def _run(command: list[str], what: str) -> None:
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"{what} did not end within {_TIMEOUT_S} s") from error
    if process.returncode == 0:
        return
    lines = [line for line in (process.stdout + "\n" + process.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("=========") and ("rror" in line or "azard" in line)]
    verdict = "found something" if process.returncode == _FOUND else f"ended with exit code {process.returncode}"
    raise CheckFailed(f"{what} {verdict}: {' '.join((errors or lines[-1:] or ['no message'])[0].split())}")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 10. Raises CheckFailed with the tool's first line, CheckSkipped where the tool is missing."""
    subject = [sys.executable, "-m", _SUBJECT]
    if machine.emulated:
        planted = ["--plant", machine.planted] if machine.planted else []
        _run([*subject, "--emulate", *planted], "the stand-in driver")
        return (
            "memcheck and initcheck as the stand-in sees them (pointers in allocations, guards, poison); racecheck "
            "and synccheck need a GPU"
        ), {"tools": 2}
    tool = find()
    if tool is None:
        raise CheckSkipped(
            "compute-sanitizer is neither on PATH nor in a CUDA toolkit: install cuda-sanitizer (apt) or the toolkit"
        )
    for name in TOOLS:
        _run([str(tool), "--tool", name, "--error-exitcode", str(_FOUND), *subject], name)
    return f"{', '.join(TOOLS)} find nothing in six nodes", {"tools": len(TOOLS)}
