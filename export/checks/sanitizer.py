"""Check 9: compute-sanitizer's four tools over six small nodes in buffers of exactly their size.

A fault that a tool finds, or a node that fails, is a FAIL; a tool that cannot work here (it refuses the device, may not
attach, or takes too long) is a SKIP with its message.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.export.checks.rig.subject import CASES, FAULT
from mutualformer.plugins.compile.headers import package_folder

TOOLS = ("memcheck", "initcheck", "racecheck", "synccheck")
SUBJECT = (sys.executable, "-m", "mutualformer.export.checks.rig.subject")
_FOUND = 86  # exit code for a fault that the tool found; the program itself never uses it
_LEAST_S = 60.0


def find() -> Path | None:
    """compute-sanitizer: on PATH, of a CUDA toolkit, or of NVIDIA's wheels."""
    wheels = (package_folder("nvidia.cu13"), package_folder("nvidia.cuda_sanitizer_api"))
    homes = [os.environ.get("CUDA_HOME", "/usr/local/cuda"), *filter(None, wheels)]
    places = [
        os.environ.get("PATH", ""),
        *(f"{home}/{inside}" for home in homes for inside in ("bin", "compute-sanitizer")),
    ]
    found = shutil.which("compute-sanitizer", path=os.pathsep.join(places))
    return Path(found) if found else None


def _lines(process: subprocess.CompletedProcess[str]) -> list[str]:
    return [" ".join(line.split()) for line in (process.stdout + "\n" + process.stderr).splitlines() if line.strip()]


def watched(tool: Sequence[str], name: str, seconds: float) -> None:
    """Run the nodes under one tool. Raises CheckFailed for a fault, CheckSkipped where the tool cannot work."""
    try:
        process = subprocess.run([*tool, *SUBJECT], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise CheckSkipped(f"{name} did not end within {seconds:.0f} s") from error
    lines = _lines(process)
    if fault := next((line for line in lines if line.startswith(FAULT)), ""):
        raise CheckFailed(f"{name}: {fault.removeprefix(FAULT)}")
    if process.returncode == 0:
        return
    errors = [line for line in lines if line.startswith("=========") and ("rror" in line or "azard" in line)]
    words = (errors or lines[-1:] or ["no message"])[0]
    if process.returncode == _FOUND:
        raise CheckFailed(f"{name} found something: {words}")
    raise CheckSkipped(f"{name} does not work here (exit code {process.returncode}): {words}")


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 9. Raises CheckFailed, or CheckSkipped where no tool could work."""
    watched((), "the nodes alone", max(_LEAST_S, machine.seconds))
    tool = find()
    if tool is None:
        raise CheckSkipped(
            "compute-sanitizer is neither on PATH nor in a CUDA toolkit: install cuda-sanitizer (apt) or the toolkit"
        )
    done, skipped = list[str](), list[str]()
    for name in TOOLS:
        if done and machine.left() <= 0:
            skipped.append(f"no time for {name}")
            continue
        try:
            watched((str(tool), "--tool", name, "--error-exitcode", str(_FOUND)), name, max(_LEAST_S, machine.left()))
            done.append(name)
        except CheckSkipped as reason:
            skipped.append(str(reason))
    if not done:
        raise CheckSkipped("; ".join(skipped))
    sentence = f"{', '.join(done)}: nothing found in {len(CASES)} nodes"
    return "; ".join([sentence, *skipped]), {"tools": len(done)}
