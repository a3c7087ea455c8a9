"""What the capture says about a source: nothing came, odd depth, odd times; and stdout kept for JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError, CameraTimeout
from mutualformer.runtime.sources.depth_range import better_scales, plausible
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.pacing import PlayedCamera
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result, SinkRunner
from tests.runtime.fakes import Callback, FakeSession, ScriptedCamera, make_frame

ROOT = Path(__file__).parents[3]


def of_depth(metres: float, index: int) -> Frame:
    frame = make_frame(index)
    return Frame(frame.rgb, np.full((48, 64), metres, np.float32), index, index, index)


def warnings_for(depths: list[float], live: bool = False, session: FakeSession | None = None) -> list[str]:
    camera = ScriptedCamera(lambda k: of_depth(depths[k], k) if k < len(depths) else None, live=live)
    Pipeline(lambda: camera, session).run()
    return camera.warnings


def test_a_source_without_one_frame_is_an_error() -> None:
    with pytest.raises(CameraError, match="scripted://: no frame could be used: it holds none"):
        Pipeline(lambda: ScriptedCamera(lambda k: None, live=False)).run()


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([2.0] * 20, 0),
        ([0.0] * 20, 0),
        ([3242.0] * 20, 1),
        ([0.1] * 20, 1),
        ([40.0] * 2, 1),
        ([0.1, 0.1, 2.0] * 6, 0),
        ([2.0] * 40 + [0.1] * 20, 0),
    ],
    ids=["room", "blind", "kilometres", "centimetres", "short", "a hand now and then", "later"],
)
def test_depth_outside_what_the_model_knows_is_said_once(depths: list[float], expected: int) -> None:
    warnings = warnings_for(depths)
    assert len(warnings) == expected
    assert all("lie outside 0.3 … 10 m" in warning for warning in warnings)


def test_the_range_is_the_model_s_own() -> None:
    session = FakeSession()
    session.contract = Contract(task="sod", model="far", input_size=(32, 48), depth_range_m=(5.0, 100.0))
    assert warnings_for([40.0] * 5, session=session) == []
    assert len(warnings_for([2.0] * 5, session=session)) == 1


def test_plausible_depth() -> None:
    room = np.linspace(0.8, 4, 48 * 64, dtype=np.float32).reshape(48, 64)
    assert plausible(room) is None
    assert plausible(room * np.float32(1000)) is not None
    assert better_scales(room * np.float32(1000), 1.0)[0] == 0.001
    assert 0.001 in better_scales(room / np.float32(5), 0.0002)
    assert plausible(np.zeros((4, 4), np.float32)) is None


def test_a_file_whose_reader_hangs_is_given_up() -> None:
    hang = threading.Event()

    def script(k: int) -> Frame | None:
        if k < 3:
            return make_frame(k)
        hang.wait(30)
        return None

    camera = ScriptedCamera(script, live=False)
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"its reader has not answered for 0\.4 s"):
        Pipeline(lambda: camera, retry=Retry(file_s=0.4, read_s=0.1)).run()
    assert time.monotonic() - began < 20
    hang.set()


def test_a_model_for_depth_on_infrared_is_said_once() -> None:
    def script(k: int) -> Frame | None:
        frame = make_frame(k)
        return Frame(frame.rgb, frame.depth * 0, k, k, k, frame.rgb) if k < 4 else None

    camera = ScriptedCamera(script, live=False)
    Pipeline(lambda: camera, FakeSession()).run()
    assert sum("near-infrared and no depth" in warning for warning in camera.warnings) == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e12])
def test_a_clock_that_jumps_is_not_waited_for(jump: float) -> None:
    stamps = (0.0, 0.1, 0.1 + jump, 0.2 + jump, 4.2 + jump)
    camera = PlayedCamera("played", live=False)
    camera.play(lambda _: (replace(make_frame(0), timestamp=stamp) for stamp in stamps), rate=1.0)
    began = time.monotonic()
    for _ in range(4):
        camera.read(1.0)
    assert 0.19 <= time.monotonic() - began < 20
    assert any("jumps by" in warning for warning in camera.warnings)
    with pytest.raises(CameraTimeout, match=r"is 4\.0 s away"):
        camera.read(0.01)


def test_a_disk_that_takes_a_while_loses_nothing_and_one_that_hangs_is_said(tmp_path: Path) -> None:
    class Slow(Recorder):
        pause = 1.5

        def write(self, result: Result) -> None:
            if self.recorded == 3:
                time.sleep(self.pause)
            super().write(result)

    slow = Slow(tmp_path / "slow", keep_free=0)
    uri = "synthetic://?fps=0&frames=40&size=64x48"
    summary = Pipeline(lambda: opening.camera(uri), None, [SinkRunner(slow)]).run()
    assert summary["sinks"]["recorder"]["error"] == ""
    assert len(list(opening.camera(slow.path))) == 40
    hung = Slow(tmp_path / "hung", keep_free=0)
    summary = Pipeline(lambda: opening.camera(uri), None, [SinkRunner(hung, stall_s=0.2)]).run()
    assert summary["sinks"]["recorder"]["state"] == "stalled"
    assert "stuck" in summary["sinks"]["recorder"]["error"]


def test_a_sink_that_still_works_is_waited_for_at_the_end() -> None:
    seen: list[int] = []

    def slowly(result: Result) -> None:
        time.sleep(0.3)
        seen.append(result.number)

    slow = SinkRunner(Callback(slowly, "slow"), capacity=16)
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=8&size=64x48"), None, [slow])
    for _ in pipeline.results():
        pass
    assert seen == list(range(8))
    assert slow.status.state == "closed"


def test_frames_that_the_disk_refused_are_not_counted(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from mutualformer.runtime.sources import opening\n"
        "from mutualformer.runtime.streaming.pipeline import Pipeline\n"
        "from mutualformer.runtime.streaming.recorder import Recorder\n"
        "from mutualformer.runtime.streaming.sinks import SinkRunner\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))\n"
        f"recorder = Recorder({str(tmp_path)!r}, keep_free=0)\n"
        "uri = 'synthetic://?fps=0&frames=60&size=320x240'\n"
        "Pipeline(lambda: opening.camera(uri), None, [SinkRunner(recorder)]).run()\n"
        "print(recorder.recorded, len(list(opening.camera(recorder.path))), recorder.problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    counted, readable, problem = done.stdout.split(maxsplit=2)
    assert int(readable) > 3
    assert int(counted) == int(readable)
    assert str(tmp_path) in problem


def test_two_recorders_of_one_second_do_not_collide(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from mutualformer.runtime.streaming.recorder import new_folder

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path, "20260131-142530"), range(40)))
    assert len(set(folders)) == 40


def test_what_native_code_prints_does_not_reach_standard_output() -> None:
    code = (
        "import ctypes, os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from mutualformer.runtime.streaming.stdout import json_stream\n"
        "with json_stream() as lines:\n"
        "    print('{\"a\": 1}', file=lines, flush=True)\n"
        "    print('python speaks', flush=True)\n"
        "    os.write(1, b'native code speaks\\n')\n"
        "    ctypes.CDLL(None).puts(b'libc speaks')\n"
        "    ctypes.CDLL(None).fflush(None)\n"
        "    print('{\"a\": 2}', file=lines)\n"
        "print('{\"a\": 3}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert [json.loads(line)["a"] for line in done.stdout.splitlines()] == [1, 2, 3]
    for voice in ("python", "native code", "libc"):
        assert f"{voice} speaks" in done.stderr
