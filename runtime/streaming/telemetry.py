"""Live numbers in bounded memory: percentiles per stage over the last ten seconds and the whole run, and rates."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np

STAGES = ("capture", "wait", "pre", "infer", "post", "total")
LIVE_SECONDS = 10.0  # over which live rates and percentiles are taken
MOST_RECENT = 10_000  # frames kept for them: ten seconds at 1000 frames a second
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
    ``infer`` the model, ``post`` from its answer to the sinks, ``total`` from arrival to the sinks. A file's frame
    arrives when its turn comes: files wait for the model, so their place in the queue says nothing about latency.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Of each frame of the last seconds: its end (monotonic seconds), stages and skew in seconds.
        self._recent: deque[tuple[float, dict[str, float], float]] = deque(maxlen=MOST_RECENT)
        self._all = {stage: DurationHistogram() for stage in STAGES}
        self._first: float | None = None
        self._last = 0.0
        self.frames = 0

    def add(self, stages: dict[str, float], skew: float, now: float) -> None:
        """``stages``: seconds for each of :data:`STAGES`. ``skew``: seconds. ``now``: monotonic seconds."""
        with self._lock:
            for stage, seconds in stages.items():
                self._all[stage].add(seconds)
            self._recent.append((now, stages, skew))
            while now - self._recent[0][0] > LIVE_SECONDS:
                self._recent.popleft()
            self._first = now if self._first is None else self._first
            self._last = now
            self.frames += 1

    def live(self, now: float) -> dict[str, Any]:
        """Over the last :data:`LIVE_SECONDS`: ``fps``, ``latency_ms`` per stage, ``skew_ms`` (median)."""
        with self._lock:
            recent = [one for one in self._recent if now - one[0] <= LIVE_SECONDS]
        # Measured up to now, so that the rate falls when frames stop coming.
        span = now - recent[0][0] if recent else 0.0
        return {
            "fps": round((len(recent) - 1) / span, 2) if len(recent) > 1 and span > 0 else 0.0,
            "latency_ms": {stage: summary_ms([stages[stage] for _, stages, _ in recent]) for stage in STAGES},
            "skew_ms": round(1e3 * float(np.median([skew for *_, skew in recent])), 3) if recent else 0.0,
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
