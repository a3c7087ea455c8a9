"""Check 1: what this machine is, which versions are on it, and which plugin is under test."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from mutualformer.export.checks import sanitizer
from mutualformer.export.checks.rig.driver import MULTIPROCESSORS
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins import library
from mutualformer.runtime import flavor
from mutualformer.runtime.benchmarks.measure import conditions

_PACKAGES = ("torch", "triton", "numpy", "cuda-bindings", "pycuda", "onnxruntime", "onnx")
_OLDEST_DRIVER = (12, 0)  # cuCtxGetId, cuGraphKernelNodeGetParams_v2


def versions() -> dict[str, str]:
    """Version of every package that matters, "-" where it is not installed."""
    table = {}
    for name in _PACKAGES:
        try:
            table[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            table[name] = "-"
    for name in library.FLAVORS:
        try:
            table[f"TensorRT ({name})"] = str(flavor.import_flavor(name).__version__)
        except flavor.FlavorError:
            table[f"TensorRT ({name})"] = "-"
    return table


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 1. Raises CheckFailed for a driver or GPU that the plugin cannot serve."""
    driver = machine.driver
    newest = driver.version()
    if tuple(int(part) for part in newest.split(".")) < _OLDEST_DRIVER:
        raise CheckFailed(f"the driver serves CUDA {newest}, expected 12.0 or newer; update the NVIDIA driver")
    architectures = sorted({image["arch"] for image in machine.images})
    numbers: dict[str, Any] = {
        "gpu": driver.device_name(),
        "sm": machine.capability,
        "multiprocessors": driver.attribute(MULTIPROCESSORS),
        "cuda": newest,
        "plugin_sha256": machine.record.sha256[:16],
        "architectures": architectures,
        "types": list(machine.dtypes),
        "compute_sanitizer": str(sanitizer.find() or "-"),
        "versions": versions(),
        "conditions": conditions(),
    }
    what = "no GPU: the stand-in driver and Triton's interpreter" if machine.emulated else numbers["gpu"]
    return f"{what}, sm_{machine.capability}", numbers
