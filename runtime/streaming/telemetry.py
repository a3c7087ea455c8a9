"""Latency percentiles per stage and frame rates, over the last ten seconds or the last frames, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

STAGES = ("capture", "wait", "pre", "infer", "post", "total")
LIVE_SECONDS = 10.0  # over which live rates and percentiles are taken
KEPT = 10_000  # frames: ten seconds at 1000 frames a second, and five minutes of a camera at 30


def summary_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 in milliseconds; 0 where there is nothing."""
    shares = (50, 95, 99)
    values = np.percentile(seconds, shares) if len(seconds) else (0.0, 0.0, 0.0)
    return {f"p{share}": round(1e3 * float(value), 3) for share, value in zip(shares, values, strict=True)}


class Telemetry:
    """Times of finished frames. The pipeline writes them, any thread may read them.

    Stages in seconds: ``capture`` work in the driver after arrival, ``wait`` in the mailbox, ``pre`` resizing,
    ``infer`` the model, ``post`` from its answer to the sinks, ``total`` from arrival to the sinks. A file's frame
    arrives when its turn comes: files wait for the model, so their place in the queue says nothing about latency.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # For each frame: its end (monotonic seconds), stages and skew in seconds.
        self._kept: deque[tuple[float, dict[str, float], float]] = deque(maxlen=KEPT)
        self.frames = 0

    def add(self, stages: dict[str, float], skew: float, now: float) -> None:
        """``stages``: seconds for each of :data:`STAGES`. ``skew``: seconds. ``now``: monotonic seconds."""
        with self._lock:
            self._kept.append((now, stages, skew))
            self.frames += 1

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """``fps``, ``latency_ms`` per stage, ``skew_ms`` (median).

        ``now``: over the :data:`LIVE_SECONDS` before it; without it, over the last :data:`KEPT` frames.
        """
        with self._lock:
            frames = [one for one in self._kept if now is None or now - one[0] <= LIVE_SECONDS]
        # A live span ends now and not at the last frame, so that the rate falls when frames stop coming.
        span = (frames[-1][0] if now is None else now) - frames[0][0] if frames else 0.0
        return {
            "fps": round((len(frames) - 1) / span, 2) if len(frames) > 1 and span > 0 else 0.0,
            "latency_ms": {stage: summary_ms([stages[stage] for _, stages, _ in frames]) for stage in STAGES},
            "skew_ms": round(1e3 * float(np.median([skew for *_, skew in frames])), 3) if frames else 0.0,
        }
