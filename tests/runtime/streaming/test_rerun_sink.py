"""rerun shows what it is given, in a file, a viewer or served; what does not work is an error, not a log line."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.stream import main
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession
from tests.runtime.test_stream import STREAM

INSTALLED = importlib.util.find_spec("rerun") is not None
if INSTALLED:
    import rerun  # noqa: F401  the import takes seconds on a busy machine, which are not the sink's
needs_rerun = pytest.mark.skipif(not INSTALLED, reason="rerun-sdk is not installed")
VIEWER = Path(sys.executable).parent / "rerun"
FIVE = "synthetic://?fps=0&frames=5&size=64x48"


@needs_rerun
def test_a_stream_goes_into_a_rerun_file(tmp_path: Path) -> None:
    from mutualformer.runtime.streaming.rerun_sink import RerunSink, target

    sink = SinkRunner(RerunSink(target(str(tmp_path / "x.rrd"))))
    summary = Pipeline(lambda: opening.camera(FIVE), FakeSession(), [sink]).run()
    assert summary["sinks"]["rerun"]["error"] == ""
    assert summary["sinks"]["rerun"]["delivered"] == 5
    assert (tmp_path / "x.rrd").stat().st_size > 5 * 64 * 48 * 3
    assert b"camera/objects" in (tmp_path / "x.rrd").read_bytes()


@pytest.mark.skipif(INSTALLED, reason="rerun-sdk is installed")
def test_without_rerun_the_verb_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthetic://", "--model", "none", "--rerun", "--frames", "1"]) == 1
    assert "[rerun]" in capsys.readouterr().err


@needs_rerun
def test_two_cameras_share_one_file(tmp_path: Path) -> None:
    file = tmp_path / "two.rrd"
    assert main([FIVE, FIVE + "&seed=2", "--model", "none", "--rerun", str(file), "--quiet"]) == 0
    data = file.read_bytes()
    assert b"camera1/camera/colour" in data
    assert b"camera2/camera/colour" in data


@needs_rerun
@pytest.mark.parametrize(
    ("text", "kind", "port"),
    [
        ("", "viewer", 9876),
        ("a.rrd", "file", 9876),
        ("serve", "serve", 9876),
        ("0.0.0.0:1234", "serve", 1234),
        ("[::]:1234", "serve", 1234),
        ("rerun+http://host:99/proxy", "connect", 99),
    ],
)
def test_what_rerun_is_asked_for(text: str, kind: str, port: int) -> None:
    from mutualformer.runtime.streaming.rerun_sink import target

    assert (target(text).kind, target(text).port) == (kind, port)


@needs_rerun
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetic://", "put --rerun after the sources"),
        ("127.0.0.1:9876", "knows no token"),
        ("192.168.1.5:9876", "listens on every address"),
        ("0.0.0.0:99999", "expected a file"),
        ("rerun+http://host:port/proxy", "Port"),
        ("film.mp4", "ending in .rrd"),
    ],
)
def test_what_cannot_be_is_said(text: str, message: str) -> None:
    from mutualformer.runtime.streaming.rerun_sink import RerunError, target

    with pytest.raises(RerunError, match=message):
        target(text)


@needs_rerun
def test_a_viewer_without_a_screen_is_an_error_before_the_camera_opens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(opening, "camera", lambda uri: opened.append(uri))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert main([FIVE, "--model", "none", "--rerun"]) == 1
    assert "no screen" in capsys.readouterr().err
    assert opened == []


@needs_rerun
def test_a_taken_port_and_a_silent_viewer_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main([FIVE, "--model", "none", "--rerun", f"0.0.0.0:{port}"]) == 1
        assert "cannot be served" in capsys.readouterr().err
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
    assert main([FIVE, "--model", "none", "--rerun", f"rerun+http://127.0.0.1:{port}/proxy"]) == 1
    assert "nobody answers" in capsys.readouterr().err


@needs_rerun
def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main([FIVE, "--model", "none", "--rerun", str(tmp_path / "file" / "x.rrd")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@needs_rerun
@pytest.mark.skipif(which("rerun") is None and not VIEWER.exists(), reason="rerun's own program is not installed")
def test_a_device_without_a_screen_serves_viewers_elsewhere(tmp_path: Path) -> None:
    """rerun's own program, without a window, fetches what is served and saves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*STREAM, "synthetic://?size=64x48&fps=10", "--rerun", f"0.0.0.0:{port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        assert f"anyone who reaches port {port}" in process.stderr.readline()
        file = tmp_path / "fetched.rrd"
        program = which("rerun") or str(VIEWER)
        fetch = [program, f"rerun+http://127.0.0.1:{port}/proxy", "--save", str(file), "--port", "0"]
        viewer = subprocess.Popen(fetch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not (file.exists() and file.stat().st_size > 64 * 48 * 3) and time.monotonic() < end:
            time.sleep(0.2)
        viewer.terminate()
        viewer.wait(10)
        assert b"camera/colour" in file.read_bytes()
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143
