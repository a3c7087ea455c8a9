"""Check 1: describes the machine, the installed versions and the plugin under test."""

from __future__ import annotations

import contextlib
import importlib.metadata
from typing import Any

from mutualformer.export.checks import sanitizer
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed, CheckSkipped
from mutualformer.plugins import library
from mutualformer.runtime import flavor
from mutualformer.runtime.benchmarks.measure import conditions

_PACKAGES = ("torch", "triton", "cuda-bindings", "pycuda", "onnxruntime", "onnx")
_OLDEST_DRIVER = (12, 0)  # the plugin tells contexts apart by cuCtxGetId, which CUDA 12.0 introduced


def versions() -> dict[str, str]:
    """Version of every installed package that the checks may use."""
    table = {one.name: one.version for one in importlib.metadata.distributions() if one.name in _PACKAGES}
    for name in library.FLAVORS:
        with contextlib.suppress(flavor.FlavorError):  # also a package whose library is missing
            table[f"TensorRT ({name})"] = str(flavor.import_flavor(name).__version__)
    return table


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 1. Raises CheckFailed for a plugin that has no kernels for this GPU, CheckSkipped for an old driver."""
    driver = machine.driver
    newest, oldest = (".".join(map(str, version)) for version in (driver.version(), _OLDEST_DRIVER))
    if driver.version() < _OLDEST_DRIVER:
        raise CheckSkipped(f"the driver serves CUDA {newest}, the checks need {oldest}; update the NVIDIA driver")
    architectures = sorted({image["arch"] for image in machine.images})
    numbers: dict[str, Any] = {
        "gpu": driver.gpu,
        "sm": machine.capability,
        "multiprocessors": driver.attribute("MULTIPROCESSOR_COUNT"),
        "clock_mhz": driver.attribute("CLOCK_RATE") // 1000,
        "integrated": bool(driver.attribute("INTEGRATED")),
        "cuda": newest,
        "plugin_sha256": machine.record.sha256[:16],
        "architectures": architectures,
        "types": list(machine.dtypes),
        "compute_sanitizer": str(sanitizer.find() or "-"),
        "conditions": conditions(**versions()),
    }
    if not machine.native_images() and not machine.runs_ptx:
        served = ", ".join(f"sm_{arch}" for arch in architectures)
        raise CheckFailed(
            f"sm_{machine.capability}: the plugin has {served} and no PTX for it; build it on this machine"
        )
    how = "" if machine.native_images() else ", which runs the PTX"
    return f"{driver.gpu}, sm_{machine.capability}{how}", numbers
