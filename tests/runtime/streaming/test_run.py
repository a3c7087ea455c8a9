"""Several sources in one run, tokens and addresses as they are printed, and exit codes that mean something."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.streaming.run import StreamError, stream, undone
from tests.runtime.fakes import FakeSession, ScriptedCamera, make_frame
from tests.runtime.test_stream import STREAM

SMALL = "synthetic://?fps=0&size=64x48&seed={}"


def test_several_sources_share_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [SMALL.format(1), SMALL.format(2)]
    summary, number = stream(sources, FakeSession(), frames=6, record=tmp_path, as_json=True, quiet=True)
    assert number == 0
    assert [one["processed"] for one in summary["sources"]] == [6, 6]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    frames = [line for line in lines if line["type"] == "frame"]
    assert sorted((line["camera"], line["number"]) for line in frames) == [(c, n) for c in (0, 1) for n in range(6)]
    for one in summary["sources"]:
        assert len(list(opening.camera(one["sinks"]["recorder"]["path"]))) == 6


def test_one_lost_source_leaves_the_others_to_end_and_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="tum:/nonexistent"):
        stream([SMALL.format(1), "tum:/nonexistent"], FakeSession(), frames=4, record=tmp_path, quiet=True)
    (folder,) = (tmp_path / "camera1").iterdir()
    assert len(list(opening.camera(str(folder)))) == 4


def test_one_page_for_several_cameras(capsys: pytest.CaptureFixture[str]) -> None:
    command = [*STREAM, "synthetic://?size=64x48", "synthetic://?size=96x48&seed=4", "--preview", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[1]
        with urlopen(url, timeout=5) as answer:
            assert b'data-cameras="2"' in answer.read()
        seen: set[int] = set()
        with urlopen(url + "events", timeout=5) as answer:
            while len(seen) < 2:
                line = answer.readline()
                if line.startswith(b"data: "):
                    seen.add(json.loads(line[6:])["camera"])
    finally:
        process.terminate()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 143


def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], list[str]]:
    """The verb until it has printed its addresses; standard error so far."""
    import os

    env = {key: value for key, value in os.environ.items() if key != "MUTUALFORMER_TOKEN"} | environment
    process = subprocess.Popen([*STREAM, *arguments], stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    lines: list[str] = []
    while not any(line.startswith("preview:") for line in lines):
        line = process.stderr.readline()
        assert line, lines
        lines.append(line.strip())
    return process, lines


def test_with_a_page_the_last_picture_stays_until_ctrl_c() -> None:
    process, lines = start("synthetic://?fps=0&frames=5&size=64x48", "--preview", "127.0.0.1:0")
    try:
        assert process.stderr is not None
        while "the page stays until Ctrl-C" not in lines[-1]:
            lines.append(process.stderr.readline().strip())
        url = next(line for line in lines if line.startswith("preview: http")).split()[1]
        with urlopen(url + "snapshot.zip", timeout=5) as answer:
            assert 'filename="mutualformer-000004.zip"' in answer.headers["Content-Disposition"]
        with urlopen(url + "frames", timeout=5) as answer:
            assert answer.readline().startswith(b"--")
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=10)
    assert process.returncode == 0, "the source had ended; Ctrl-C only closed the page"
    assert "finished: 5 frames" in rest


def test_a_missing_token_is_made_and_printed_once_with_a_link_that_opens() -> None:
    process, lines = start("synthetic://?size=64x48", "--preview", "0.0.0.0:0")
    try:
        assert any("--tls" in line for line in lines), "says that nothing is encrypted"
        link = lines[-1].split()[1]
        match = re.fullmatch(r"http://([\w.-]+):(\d+)/\?token=([\w-]{16,})", link)
        assert match, link
        assert match[1] != "0.0.0.0"
        with urlopen(f"http://127.0.0.1:{match[2]}/?token={match[3]}", timeout=5) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=10)
    assert match[3] not in rest


def test_a_given_token_is_never_printed_into_a_log(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    process, lines = start("synthetic://?size=64x48", "--preview", "0.0.0.0:0", MUTUALFORMER_TOKEN=secret)
    process.terminate()
    _, rest = process.communicate(timeout=10)
    assert secret not in "\n".join(lines) + rest
    assert lines[-1].endswith("?token=…")


def test_what_was_asked_for_and_not_done_is_an_error() -> None:
    def summary(name: str = "recorder", **sink: object) -> dict[str, Any]:
        whole = {"state": "closed", "error": "", "dropped": 0, "delivered": 5, "problem": "", **sink}
        return {"sinks": {name: whole}}

    assert undone(summary()) == ""
    assert undone(summary(problem="disk full\x1b[2J")) == "disk full\\x1b[2J"
    assert "stuck" in undone(summary(state="stalled", error="recorder was stuck for 10 s"))
    assert "2 of 7 frames" in undone(summary(dropped=2, frames=5))
    assert undone(summary(dropped=2, frames=0)) == "", "the recorder was never switched on"
    assert undone(summary("preview", dropped=9)) == "", "a live view may skip frames"
    assert undone(summary("rerun", state="failed", error="gone")) == "rerun: gone"
    assert undone(summary("json", state="failed", error="[Errno 32] Broken pipe")) == ""


def test_terminal_escapes_of_a_source_are_not_printed() -> None:
    code = "import sys; from mutualformer.runtime.stream import main;sys.exit(main(['tum:/no\\x1b[31mthing\\u202e']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr


def test_escapes_in_a_camera_s_name_stay_out_of_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opener(uri: str) -> ScriptedCamera:
        camera = ScriptedCamera(lambda k: make_frame(k) if k < 20 else None, live=False, fps=30)
        camera.name = "cam\x1b]0;owned\x07"
        camera.warn("bad \x1b[2J name")
        return camera

    monkeypatch.setattr(opening, "camera", opener)
    stream("scripted://", FakeSession())
    time.sleep(0.1)
    assert "\x1b[2J" not in capsys.readouterr().err
