"""How many threads work may be spread over."""

from __future__ import annotations

import os


def usable_threads() -> int:
    """Threads this process may use: those of its affinity, which containers set, where the system tells it."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
