"""Latency percentiles per stage and frame rates, over the last ten seconds and the whole run, in bounded memory."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import numpy as np

STAGES = ("capture", "wait", "pre", "infer", "post", "total")
LIVE_SECONDS = 10.0  # over which live rates and percentiles are taken
MOST_RECENT = 10_000  # frames kept for them: ten seconds at 1000 frames a second
_WIDTH = math.log(1.02)  # each bucket of the whole-run histogram is 2 % wide, so a percentile is right to 1 %
_LOW = 1e-5  # seconds; shorter durations count as this


class DurationHistogram:
    """Percentiles of any number of durations in constant memory."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._buckets[int(math.log(max(seconds, _LOW)) // _WIDTH)] += 1

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Seconds: the middle of the bucket that holds each percentile; 0 where nothing was added."""
        order = sorted(self._buckets)
        if not order:
            return [0.0 for _ in shares]
        counts = np.cumsum([self._buckets[bucket] for bucket in order])
        ranks = [max(1, math.ceil(counts[-1] * share / 100)) for share in shares]
        return [math.exp((order[int(np.searchsorted(counts, rank))] + 0.5) * _WIDTH) for rank in ranks]


def summary_ms(values: Any) -> dict[str, float]:
    """p50, p95, p99 in milliseconds of a sequence of seconds or of a :class:`DurationHistogram`."""
    shares = (50, 95, 99)
    if isinstance(values, DurationHistogram):
        seconds = values.percentiles(shares)
    else:
        seconds = np.percentile(values, shares).tolist() if len(values) else [0.0] * 3
    return {f"p{share}": round(1e3 * value, 3) for share, value in zip(shares, seconds, strict=True)}


class Telemetry:
    """Times of finished frames. The pipeline writes them, any thread may read them.

    Stages in seconds: ``capture`` work in the driver after arrival, ``wait`` in the mailbox, ``pre`` resizing,
    ``infer`` the model, ``post`` from its answer to the sinks, ``total`` from arrival to the sinks. A file's frame
    arrives when its turn comes: files wait for the model, so their place in the queue says nothing about latency.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # For each frame of the last seconds: its end (monotonic seconds), stages and skew in seconds.
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
        # The span ends now and not at the last frame, so that the rate falls when frames stop coming.
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
