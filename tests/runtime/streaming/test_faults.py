"""What goes wrong in the field: unplugged, hung, late, frozen, blind; slow, stuck and crashing sinks. Never a hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.health import Health
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.sinks import Result, SinkRunner
from tests.runtime.fakes import Callback, ScriptedCamera, lose, make_frame

QUICK = Retry(attempts=30, first_s=0.005, most_s=0.05, stall_s=0.3, open_s=2.0, read_s=0.1)


def test_fifty_random_disconnects_all_recover_without_a_long_gap() -> None:
    rng = np.random.default_rng(7)
    opened: list[ScriptedCamera] = []
    refusals = iter(rng.integers(0, 4, 1000).tolist())
    refuse = {"left": 0}
    delivered = {"count": 0}

    def script_for(frames: int) -> Callable[[int], Frame]:
        def script(index: int) -> Frame:
            if index >= frames:
                lose()
            delivered["count"] += 1
            return make_frame(delivered["count"])

        return script

    def opener() -> BaseCamera:
        if refuse["left"] > 0:  # gone for a while: opening fails a few times, as after a real unplug
            refuse["left"] -= 1
            raise CameraError("scripted://: no such camera")
        refuse["left"] = next(refusals)
        opened.append(ScriptedCamera(script_for(int(rng.integers(1, 12))), live=True, fps=200))
        return opened[-1]

    pipeline = Pipeline(opener, retry=QUICK)
    times = [time.monotonic()]
    for _ in pipeline.results():
        times.append(time.monotonic())
        if len(opened) > 51:
            pipeline.stop()
    assert len(opened) > 51
    assert pipeline.capture.reconnects >= 50
    assert pipeline.capture.error == ""
    assert max(np.diff(times)) < 20
    assert all(camera.closed.is_set() for camera in opened), "every lost camera was given back"


def test_a_camera_that_never_comes_back_ends_the_run_with_a_sentence() -> None:
    first = ScriptedCamera(lambda k: make_frame(k) if k < 5 else lose(), live=True)
    opened: list[BaseCamera] = []

    def opener() -> BaseCamera:
        if opened:
            raise CameraError("scripted://: no such camera")
        opened.append(first)
        return first

    pipeline = Pipeline(opener, retry=Retry(attempts=4, first_s=0.01, most_s=0.02))
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"no such camera \(gave up after 4 attempts\)"):
        pipeline.run()
    assert time.monotonic() - began < 20
    assert pipeline.state == "lost"


def test_a_driver_that_hangs_is_abandoned_and_replaced() -> None:
    hang = threading.Event()
    opened: list[ScriptedCamera] = []

    def opener() -> BaseCamera:
        def script(index: int) -> Frame:
            if len(opened) == 1 and index == 5:
                hang.wait(30)  # ignores its timeout, like a driver after an unplug
            return make_frame(100 * len(opened) + index)

        opened.append(ScriptedCamera(script, live=True, fps=100))
        return opened[-1]

    pipeline = Pipeline(opener, frames=40, retry=QUICK)
    times, states = [], set()
    for _ in pipeline.results():
        times.append(time.monotonic())
        states.add(pipeline.state)
    assert len(times) == 40
    assert max(np.diff(times)) < 20
    assert pipeline.capture.abandoned == 1
    hang.set()
    time.sleep(0.1)
    assert len(opened) == 2


def test_a_camera_may_take_as_long_to_open_again_as_the_first_time() -> None:
    opened: list[ScriptedCamera] = []

    def opener() -> BaseCamera:
        if opened:
            time.sleep(3 * QUICK.stall_s)  # a network camera negotiates
        lost = 5 if not opened else None
        opened.append(ScriptedCamera(lambda k: lose() if k == lost else make_frame(k), live=True, fps=100))
        return opened[-1]

    pipeline = Pipeline(opener, frames=20, retry=QUICK)
    assert pipeline.run()["processed"] == 20
    assert (len(opened), pipeline.capture.abandoned) == (2, 0)


def test_a_camera_that_hangs_while_opening_is_given_up() -> None:
    hang = threading.Event()

    def opener() -> BaseCamera:
        hang.wait(30)
        raise CameraError("too late")

    began = time.monotonic()
    with pytest.raises(CameraError, match=r"did not open within 0\.4 s"):
        Pipeline(opener, retry=Retry(open_s=0.4)).run()
    assert time.monotonic() - began < 20
    hang.set()


def test_silence_becomes_late_then_lost_then_recovered() -> None:
    opened: list[ScriptedCamera] = []
    seen: list[str] = []

    def opener() -> BaseCamera:
        def script(index: int) -> Frame:
            if len(opened) == 1 and index >= 3:
                time.sleep(0.02)
                raise CameraTimeout("scripted://: no frame")
            return make_frame(index + 50 * len(opened))

        opened.append(ScriptedCamera(script, live=True, fps=100))
        return opened[-1]

    pipeline = Pipeline(opener, frames=30, retry=QUICK)
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.01):
            seen.append(pipeline.state.split(":")[0].split(" (")[0])

    thread = threading.Thread(target=watch)
    thread.start()
    pipeline.run()
    watching.set()
    thread.join()
    order = [state for i, state in enumerate(seen) if i == 0 or state != seen[i - 1]]
    assert "late" in order
    assert order.index("late") < order.index("running", order.index("late"))
    assert pipeline.capture.reconnects == 1


def test_a_driver_s_own_exception_is_one_sentence_and_not_retried() -> None:
    def script(index: int) -> Frame:
        raise ZeroDivisionError("division by zero")

    opened: list[int] = []

    def opener() -> BaseCamera:
        opened.append(1)
        return ScriptedCamera(script, live=True)

    with pytest.raises(CameraError, match="scripted://: ZeroDivisionError: division by zero"):
        Pipeline(opener, retry=QUICK).run()
    assert len(opened) == 1


def test_a_recording_is_not_reopened_after_an_error() -> None:
    camera = ScriptedCamera(lambda k: make_frame(k) if k < 3 else lose(), live=False)
    pipeline = Pipeline(lambda: camera, retry=QUICK)
    seen: list[int] = []
    pipeline.sinks.append(SinkRunner(collect(seen)))
    with pytest.raises(CameraError, match="unplugged"):
        pipeline.run()
    assert seen == [0, 1, 2], "what was read before is still delivered"
    assert pipeline.capture.reconnects == 0


def test_frozen_pictures_and_blind_depth_are_noticed_and_forgotten() -> None:
    health = Health()
    frame = make_frame(1)
    states = [health.observe(frame, k / 30) for k in range(60)]
    assert states[10] == ""
    assert states[-1].startswith("frozen")
    assert health.observe(make_frame(2), 2.1) == ""
    blind = [
        health.observe(Frame(make_frame(k).rgb, np.zeros((48, 64), np.float32), 0, 0, k), 3 + k / 30) for k in range(60)
    ]
    assert blind[10] == ""
    assert blind[-1].startswith("no depth")
    assert health.observe(make_frame(3), 6.0) == ""


def test_frames_the_device_itself_left_out_are_counted_apart() -> None:
    numbers = [0, 1, 2, 5, 6, 10]
    camera = ScriptedCamera(lambda k: make_frame(numbers[k]) if k < len(numbers) else None, live=True, fps=100)
    summary = Pipeline(lambda: camera).run()
    assert summary["skipped_by_camera"] == 5
    assert summary["captured"] == 6


def collect(into: list[int]) -> Callback:
    return Callback(lambda result: into.append(result.number), "good")


def explode(result: Result) -> None:
    if result.number == 3:
        raise ValueError("no space for rent")


def test_a_crashing_sink_is_left_out_and_visible() -> None:
    good: list[int] = []
    sinks = [SinkRunner(Callback(explode, "bad")), SinkRunner(collect(good))]
    summary = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=20&size=64x48"), None, sinks).run()
    assert good == list(range(20))
    assert summary["sinks"]["bad"]["state"] == "failed"
    assert summary["sinks"]["bad"]["error"] == "no space for rent"
    assert summary["sinks"]["bad"]["delivered"] == 3
    assert summary["sinks"]["good"]["state"] == "closed"


def test_a_slow_sink_of_a_live_source_drops_without_slowing_the_stream() -> None:
    slow = SinkRunner(Callback(lambda result: time.sleep(0.2), "slow"), capacity=2)
    good: list[int] = []
    pipeline = Pipeline(
        lambda: opening.camera("synthetic://?fps=60&size=64x48"), None, [slow, SinkRunner(collect(good))]
    )
    pipeline._frames = 60
    began = time.monotonic()
    totals = [result.stages["total"] for result in pipeline.results()]
    assert np.median(totals) < 0.05
    assert time.monotonic() - began < 11, "the slow sink alone takes 12 s"
    summary = pipeline.snapshot()["sinks"]
    assert good == list(range(60))
    assert summary["slow"]["dropped"] >= 45
    assert summary["slow"]["delivered"] + summary["slow"]["dropped"] == 60


def test_a_stuck_sink_of_a_recording_is_left_out_after_its_patience() -> None:
    release = threading.Event()
    stuck = SinkRunner(Callback(lambda result: release.wait(30), "stuck"), capacity=1, stall_s=0.3)
    good: list[int] = []
    pipeline = Pipeline(
        lambda: opening.camera("synthetic://?fps=0&frames=30&size=64x48"), None, [stuck, SinkRunner(collect(good))]
    )
    began = time.monotonic()
    results = list(pipeline.results())
    assert len(results) == 30
    assert good == list(range(30))
    assert time.monotonic() - began < 20
    assert pipeline.snapshot()["sinks"]["stuck"]["state"] == "stalled"
    release.set()


def test_a_sink_that_fails_to_open_or_close_harms_nobody() -> None:
    class Bad(Callback):
        def open(self, camera: BaseCamera) -> None:
            raise OSError("port is taken")

        def close(self) -> None:
            raise OSError("again")

    good: list[int] = []
    sinks = [SinkRunner(Bad(print, "bad")), SinkRunner(collect(good))]
    summary = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=5&size=64x48"), None, sinks).run()
    assert good == list(range(5))
    assert summary["sinks"]["bad"]["error"] == "port is taken"


def test_a_camera_whose_close_raises_does_not_stop_the_recovery() -> None:
    class Grumpy(ScriptedCamera):
        def close(self) -> None:
            super().close()
            raise RuntimeError("already gone")

    opened: list[BaseCamera] = []

    def opener() -> BaseCamera:
        opened.append(Grumpy(lambda k: make_frame(k) if k < 4 else lose(), live=True, fps=200))
        return opened[-1]

    assert Pipeline(opener, frames=10, retry=QUICK).run()["processed"] == 10
    with pytest.raises(CameraLost):
        lose()
