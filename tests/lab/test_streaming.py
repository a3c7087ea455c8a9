"""The bench of streaming itself: every configuration runs, nothing is lost on the way, the report is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import streaming as stream


def test_the_bench_measures_every_configuration_and_writes_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LIMIT_MS", 1000.0)
    assert stream.main(["--out", str(tmp_path), "--frames", "40", "--size", "160x120"]) == 0
    report = json.loads((tmp_path / "stream.json").read_text())
    assert [row["configuration"] for row in report["rows"]] == ["bare", "record"]
    for row in report["rows"]:
        assert row["frames"] + row["dropped"] == 40 - stream.WARM_UP - 1
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        assert row["work_ms_per_frame"] > 0
    assert sum(report["rows"][1]["sinks"]["recorder"]) + report["rows"][1]["dropped"] == 40
    assert "record" in capsys.readouterr().out


def test_too_slow_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stream, "LIMIT_MS", 1e-6)
    monkeypatch.setattr(stream, "CONFIGURATIONS", ("bare",))
    assert stream.main(["--frames", "30", "--size", "64x48"]) == 1
    assert "expected at most" in capsys.readouterr().err
