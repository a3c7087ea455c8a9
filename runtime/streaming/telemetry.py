"""Live numbers in bounded memory: percentiles per stage over the last frames and over the whole run, and rates."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np

STAGES = ("capture", "wait", "pre", "infer", "post", "total")
WINDOW = 300
LIVE_SECONDS = 5.0  # over which the live rate is taken
# Whole-run histogram: 10 µs to 1000 s, each bucket 2 % wide, so a percentile is right to 1 %.
_LOW, _WIDTH = 1e-5, math.log(1.02)
_BUCKETS = int(math.log(1e8) / _WIDTH) + 2


class DurationHistogram:
    """Percentiles of any number of durations in constant memory."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets = np.zeros(_BUCKETS, np.int64)

    def add(self, seconds: float) -> None:
        """Count one duration; what lies beyond the buckets' ends counts in the outermost."""
        index = int(math.log(max(seconds, _LOW) / _LOW) / _WIDTH)
        self._buckets[min(index, _BUCKETS - 1)] += 1
        self.count += 1

    def percentile(self, q: float) -> float:
        """Seconds, the middle of the bucket that holds percentile ``q``; 0 where nothing was added."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(self.count * q / 100))
        index = int(np.searchsorted(np.cumsum(self._buckets), rank))
        return float(_LOW * math.exp((index + 0.5) * _WIDTH))


def summary_ms(values: Any) -> dict[str, float]:
    """p50, p95, p99 in milliseconds of a sequence of seconds or of a :class:`DurationHistogram`."""
    if isinstance(values, DurationHistogram):
        percentiles = [values.percentile(q) for q in (50, 95, 99)]
    else:
        percentiles = list(np.percentile(values, (50, 95, 99))) if len(values) else [0.0, 0.0, 0.0]
    return {f"p{q}": round(1e3 * float(value), 3) for q, value in zip((50, 95, 99), percentiles, strict=True)}


class Telemetry:
    """Times of finished frames. Written by the pipeline, read by any thread.

    Stages in seconds: ``capture`` work in the driver after arrival, ``wait`` in the mailbox, ``pre`` resizing,
    ``infer`` the model, ``post`` from its answer to the sinks, ``total`` from arrival to the sinks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}
        self._all = {stage: DurationHistogram() for stage in STAGES}
        self._ends: deque[float] = deque(maxlen=WINDOW)
        self._skews: deque[float] = deque(maxlen=WINDOW)
        self._first: float | None = None
        self._last = 0.0
        self.frames = 0

    def add(self, stages: dict[str, float], skew: float, now: float) -> None:
        """``stages``: seconds for each of :data:`STAGES`. ``skew``: seconds. ``now``: monotonic seconds."""
        with self._lock:
            for stage, seconds in stages.items():
                self._recent[stage].append(seconds)
                self._all[stage].add(seconds)
            self._ends.append(now)
            self._skews.append(skew)
            self._first = now if self._first is None else self._first
            self._last = now
            self.frames += 1

    def live(self, now: float) -> dict[str, Any]:
        """Over the last few seconds: ``fps``, ``latency_ms`` per stage, ``skew_ms`` (median)."""
        with self._lock:
            ends = [end for end in self._ends if now - end <= LIVE_SECONDS]
            recent = {stage: list(values) for stage, values in self._recent.items()}
            skews = list(self._skews)
        # Measured up to now, so that the rate falls when frames stop coming.
        span = now - ends[0] if ends else 0.0
        return {
            "fps": round((len(ends) - 1) / span, 2) if len(ends) > 1 and span > 0 else 0.0,
            "latency_ms": {stage: summary_ms(values) for stage, values in recent.items()},
            "skew_ms": round(1e3 * float(np.median(skews)), 3) if skews else 0.0,
        }

    def whole(self) -> dict[str, Any]:
        """Over the whole run: frames, mean fps, percentiles to 1 %."""
        with self._lock:
            span = self._last - self._first if self._first is not None else 0.0
            fps = (self.frames - 1) / span if span > 0 else 0.0
            return {
                "frames": self.frames,
                "fps": round(fps, 2),
                "latency_ms": {stage: summary_ms(values) for stage, values in self._all.items()},
            }
