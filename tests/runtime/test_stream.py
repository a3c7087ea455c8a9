"""The verb as people run it: exit codes, JSON lines, signals, pipes, the list of sources."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.runtime.images.objects import find_objects
from mutualformer.runtime.sources import listing, opening
from mutualformer.runtime.stream import main
from mutualformer.runtime.streaming import console
from mutualformer.runtime.streaming.gallery import Gallery, GalleryError
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.run import stream
from mutualformer.runtime.streaming.sinks import Result
from tests.runtime.fakes import FakeSession, make_frame, write_model

ROOT = Path(__file__).parents[2]
# Without a model unless a test names one: what is tested here is everything around it.
STREAM = [sys.executable, str(ROOT / "runtime" / "stream.py"), "--model", "none"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STREAM, *arguments], capture_output=True, text=True, timeout=60, cwd="/")


def test_json_lines_from_any_folder() -> None:
    done = run("synthetic://?fps=0&size=64x48", "--frames", "5", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    frames = [line for line in lines if line["type"] == "frame"]
    assert [line["number"] for line in frames] == [0, 1, 2, 3, 4]
    assert set(frames[0]["latency_ms"]) == {"capture", "wait", "pre", "infer", "post", "total"}
    summary = lines[-1]
    assert summary["type"] == "summary"
    assert (summary["processed"], summary["dropped"], summary["state"]) == (5, 0, "finished")
    assert summary["latency_ms"]["total"]["p50"] > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_close_everything_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [*STREAM, "synthetic://?fps=30&size=64x48", "--json", "--record", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while '"number": 10' not in process.stdout.readline():
        assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - began < 15  # three, and what a busy machine adds
    assert json.loads(out.splitlines()[-1])["state"] == "stopped"
    assert "Traceback" not in err
    (folder,) = tmp_path.iterdir()
    data = next(folder.glob("*.mcap")).read_bytes()
    assert data.endswith(b"\x89MCAP0\r\n"), "the recording was closed"


def test_a_reader_that_leaves_ends_the_stream_quietly() -> None:
    shell = f"'{STREAM[0]}' '{STREAM[1]}' --model none 'synthetic://?fps=60&size=64x48' --json | head -3"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, timeout=30)
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tum:/nonexistent", "--model", "none"], "rgb.txt is missing"),
        (["synthetic://", "--model", "/nonexistent.onnx"], "no such model file"),
        (["synthetic://", "--frames", "0"], "expected at least 1"),
        ([], "--list shows what is connected"),
        (["synthetic://", "--gallery", "/tmp"], "--gallery needs --model"),
    ],
)
def test_errors_are_one_sentence_and_exit_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_unknown_options_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["synthetic://", "--fast"])
    assert caught.value.code == 2
    assert "--fast" in capsys.readouterr().err


def test_list_is_quick_and_names_what_is_missing() -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        done = run("--list")
        times.append(time.monotonic() - began)
    assert done.returncode == 0
    assert min(times) < 10.0, "must not wait for devices that are absent"
    for scheme in ("realsense://", "oak://", "orbbec://", "openni2://", "tum:", "pairs:", "synthetic://"):
        assert scheme in done.stdout


def fake_usb(root: Path, *devices: tuple[str, str, str, str]) -> Path:
    for number, (vendor, product, name, speed) in enumerate(devices):
        folder = root / f"1-{number}"
        folder.mkdir(parents=True)
        values = {"idVendor": vendor, "idProduct": product, "product": name, "serial": f"S{number}", "speed": speed}
        for key, value in values.items():
            (folder / key).write_text(value + "\n")
    return root


def test_list_shows_connected_cameras_and_slow_ports(tmp_path: Path) -> None:
    root = fake_usb(
        tmp_path,
        ("8086", "0b3a", "Intel(R) RealSense(TM) Depth Camera 435i", "480"),
        ("03e7", "2485", "Movidius MyriadX", "5000"),
        ("2bc5", "0800", "Orbbec Gemini", "5000"),
        ("046d", "c52b", "USB Receiver", "12"),
    )
    entries = {entry["scheme"]: entry for entry in listing.sources(root)}
    assert entries["realsense"]["devices"][0]["serial"] == "S0"
    assert entries["oak"]["devices"][0]["id"] == "03e7:2485"
    assert [len(entries[name]["devices"]) for name in ("orbbec", "openni2", "tum")] == [1, 0, 0]
    text = listing.text(list(entries.values()))
    assert "435i serial S0 (USB 2: plug it into a USB 3 port)" in text
    assert "Receiver" not in text


def test_list_names_the_extra_of_each_missing_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = listing.text(listing.sources(tmp_path))
    for extra in ("realsense", "oak", "orbbec"):
        assert f"[{extra}]" in text
    assert "No depth camera is plugged in" in text


def test_describe_tells_where_and_how_far_the_salient_object_is() -> None:
    frame = make_frame(0, (48, 64))
    frame.depth[:] = 3.0
    frame.depth[12:24, 16:32] = 1.25
    saliency = np.zeros((24, 32), np.float32)
    saliency[6:12, 8:16] = 0.9
    stages = dict.fromkeys(("capture", "wait", "pre", "infer", "post", "total"), 0.001)
    objects, _ = find_objects(saliency, frame.depth)
    line = Result(frame, {"saliency": saliency}, stages, 0, 0, objects=objects).to_json()
    assert [one["box"] for one in line["objects"]] == [[0.25, 0.25, 0.5, 0.5]]
    assert line["nearest_object_m"] == 1.25
    assert line["objects"][0]["area"] == pytest.approx(48 / 768, abs=1e-4)
    nothing = Result(frame, {"saliency": saliency * 0}, stages, 0, 0).to_json()
    assert nothing["objects"] == []
    assert nothing["nearest_object_m"] is None
    json.dumps([line, nothing])


def test_streaming_imports_neither_torch_nor_the_other_stages() -> None:
    code = (
        "import sys, mutualformer.runtime.stream;"
        "import mutualformer.runtime.preview.live_page;"
        "from mutualformer.runtime.sources import listing;"
        "from mutualformer.runtime.sources.devices import openni2;"
        "from mutualformer.runtime.sources.folders import pairs, tum;"
        "from mutualformer.runtime.recording import replay;"
        "foreign = {'torch', 'mutualformer.train', 'mutualformer.export', 'timm', 'lightning'};"
        "print(sorted(foreign & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_status_line_says_it_all_in_one_line() -> None:
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=9&size=64x48"), FakeSession(0.002))
    pipeline.run()
    line = console.status_line(pipeline.snapshot())
    assert line.startswith("finished")
    for part in ("fps", "(p50/p95)", "model", "dropped 0", "skew 0.0 ms"):
        assert part in line
    assert "\n" not in line


def test_the_reporter_tells_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = {"state": "running", "warnings": ["two left out"], "sinks": {"recorder": {"error": "", "problem": ""}}}
    events: list[dict[str, Any]] = []
    changes = console.Changes(events.append)
    frozen = "frozen: the picture has not changed"
    for state in ("running", "running", frozen, "running"):
        changes({**snapshot, "state": state})
    changes({**snapshot, "sinks": {"recorder": {"error": "", "problem": "disk full"}}})
    assert [event["state"] for event in events] == ["running", "two left out", frozen, "running", "disk full"]
    printed = capsys.readouterr().err.splitlines()
    assert printed == ["warning: two left out", f"source: {frozen}", "recorder: disk full"]


def test_a_real_model_file_streams_with_page_and_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = "synthetic://?fps=0&frames=6&size=160x120"
    model = write_model(tmp_path / "model.onnx")
    arguments = [uri, "--model", str(model), "--device", "cpu", "--preview", "127.0.0.1:0", "--json", "--frames", "6"]
    assert main([*arguments, "--record", str(tmp_path / "rec")]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    live = [line for line in lines if line["type"] == "frame"]
    assert len(live) == 6
    assert lines[-1]["model"].startswith("red-channel")
    assert "preview: http://127.0.0.1:" in err
    # The recording, run through the same model, gives the same answers.
    (folder,) = (tmp_path / "rec").iterdir()
    assert main([str(folder), "--model", str(model), "--device", "cpu", "--json"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    keys = ("sequence", "objects", "nearest_object_m")
    for one, two in zip(live, [line for line in again if line["type"] == "frame"], strict=True):
        assert {key: one[key] for key in keys} == {key: two[key] for key in keys}


def test_the_function_under_the_verb_returns_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    summary, number = stream("synthetic://?fps=0&frames=4&size=64x48", FakeSession(), as_json=True, quiet=True)
    assert number == 0
    assert summary["model"] == "fake fp32"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("objects" in line for line in lines) == 4


def write_gallery(folder: Path, people: dict[str, tuple[int, int]]) -> None:
    for kind in ("rgb", "nir"):
        (folder / kind).mkdir(parents=True)
    for name, (red, grey) in people.items():
        for shot in range(2):
            cv2.imwrite(str(folder / f"rgb/{name}_{shot}.png"), np.full((9, 9, 3), (10, 10, red + shot), np.uint8))
            cv2.imwrite(str(folder / f"nir/{name}_{shot}.png"), np.full((9, 9), grey, np.uint8))


def test_a_gallery_names_whom_the_camera_sees(tmp_path: Path) -> None:
    write_gallery(tmp_path / "g", {"anna": (250, 20), "ben": (30, 240)})
    session = FakeSession(task="reid")
    gallery = Gallery.build(tmp_path / "g", session)
    assert gallery.features.shape == (4, 6)
    uri = f"pairs:{tmp_path}/g/rgb,{tmp_path}/g/nir?nir=1"
    actual = [r.match for r in Pipeline(lambda: opening.camera(uri), session, match=gallery.match).results()]
    assert [match[0] for match in actual if match] == ["anna", "anna", "ben", "ben"]
    assert all(match and match[1] > 0.99 for match in actual)
    with pytest.raises(GalleryError, match="is sod"):
        Gallery.build(tmp_path / "g", FakeSession())
    with pytest.raises(GalleryError, match="expected the folders rgb and nir"):
        Gallery.build(tmp_path, session)
