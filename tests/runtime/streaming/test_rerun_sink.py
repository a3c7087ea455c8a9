"""The rerun viewer's sink writes what it is given; without the package the verb says how to get it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mutualformer.runtime import cameras
from mutualformer.runtime.stream import main
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed")
def test_a_stream_goes_into_a_rerun_file(tmp_path: Path) -> None:
    from mutualformer.runtime.streaming.rerun_sink import RerunSink

    sink = SinkRunner(RerunSink(tmp_path / "x.rrd"))
    summary = Pipeline(lambda: cameras.open("synthetic://?fps=0&frames=5&size=64x48"), FakeSession(), [sink]).run()
    assert summary["sinks"]["rerun"]["error"] == ""
    assert summary["sinks"]["rerun"]["delivered"] == 5
    assert (tmp_path / "x.rrd").stat().st_size > 5 * 64 * 48 * 3


@pytest.mark.skipif(importlib.util.find_spec("rerun") is not None, reason="rerun-sdk is installed")
def test_without_rerun_the_verb_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthetic://", "--rerun", "--frames", "1"]) == 1
    assert "pip install 'mutualformer[rerun]'" in capsys.readouterr().err
