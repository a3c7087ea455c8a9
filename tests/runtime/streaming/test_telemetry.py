"""Live numbers are of the last ten seconds, however fast frames come."""

from __future__ import annotations

import pytest

from mutualformer.runtime.streaming.telemetry import LIVE_SECONDS, STAGES, Telemetry


@pytest.mark.parametrize("fps", [2, 400])
def test_percentiles_cover_the_last_ten_seconds(fps: int) -> None:
    telemetry = Telemetry()
    for number in range(20 * fps):  # ten seconds of 50 ms, then ten of 10 ms
        seconds = 0.05 if number < 10 * fps else 0.01
        telemetry.add(dict.fromkeys(STAGES, seconds), 0.002, 100 + number / fps)
    end = 100 + (20 * fps - 1) / fps
    live = telemetry.summary(end)
    assert (live["latency_ms"]["total"]["p50"], live["latency_ms"]["total"]["p95"]) == (10, 10)
    assert live["skew_ms"] == 2
    assert live["fps"] == pytest.approx(fps, rel=0.06)
    half = telemetry.summary(end + LIVE_SECONDS / 2)
    assert half["fps"] == pytest.approx(fps / 2, rel=0.11), "no frame for five seconds"
    nothing = telemetry.summary(end + LIVE_SECONDS + 1)
    assert (nothing["fps"], nothing["latency_ms"]["total"]["p95"]) == (0, 0)
    assert telemetry.frames == 20 * fps
    assert telemetry.summary()["fps"] == pytest.approx(fps, rel=0.01), "of the whole run"
    assert telemetry.summary()["latency_ms"]["total"]["p95"] == 50
