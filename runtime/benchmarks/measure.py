"""Timing: interleaved, warmed up, median of many calls, together with the conditions of the measurement."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.session.threads import usable_threads


def interleaved_ms(calls: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Milliseconds of every call, by name; the calls take turns, so that other load affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + warmup):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= warmup:
                times[name].append((time.perf_counter() - began) * 1e3)
    return times


def summary(times: list[float]) -> dict[str, float]:
    """p20, p50 and p80 in milliseconds, and how many calls."""
    low, middle, high = map(float, np.percentile(times, (20, 50, 80)))
    return {"p20_ms": low, "p50_ms": middle, "p80_ms": high, "calls": float(len(times))}


def processor_name() -> str:
    """The processor as the system calls it, e.g. "AMD EPYC 7B13"; its architecture where it has no name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def conditions(**versions: str) -> dict[str, Any]:
    """Processor, threads, load and versions, without which a number cannot be compared."""
    return {
        "processor": processor_name(),
        "cores": usable_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        **versions,
    }
