"""The number of threads that this process may use."""

from __future__ import annotations

import os


def usable_threads() -> int:
    """CPUs in this process's affinity, which containers set; all CPUs where the system has no affinity."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
