"""Live sources stay fresh and count what they drop; recordings lose nothing; long runs leak nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime import preprocess
from mutualformer.runtime.session.base import Arrays
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.sources.playing import FramesCamera, PlayOptions
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result, SinkRunner
from tests.runtime.fakes import Callback, FakeSession, ScriptedCamera, make_frame
from tests.runtime.preview.one_camera import Preview


class Numbered:
    """Files by number."""

    has_depth = True

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Item:
        frame = make_frame(index)
        return Item(frame.rgb, frame.depth, None, f"{index}")


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def run_slow_model(frames: int) -> tuple[Pipeline, list[Result], dict[str, object]]:
    """``frames`` frames at 30 fps into a model that takes 200 ms."""
    pipeline = Pipeline(
        lambda: ScriptedCamera(lambda k: make_frame(k) if k < frames else None, live=True, fps=30), FakeSession(0.2)
    )
    results = list(pipeline.results())
    return pipeline, results, pipeline.snapshot(whole=True)


def check_slow_model(frames: int) -> None:
    pipeline, results, summary = run_slow_model(frames)
    totals = np.array([r.stages["total"] for r in results])
    models = np.array([r.stages["infer"] for r in results])
    seconds = np.array_split(totals, max(1, len(totals) // 5))
    # Medians: a queue would make every frame late, a busy machine only some.
    assert all(np.median(part) <= 1.6 * np.median(models) for part in (totals, seconds[0], seconds[-1]))
    # Every frame the camera gave was either answered or counted as dropped.
    assert summary["captured"] == frames
    assert len(results) + pipeline.dropped == frames
    numbers = [r.frame.sequence for r in results]
    assert numbers == sorted(set(numbers))
    gaps = sum(b - a - 1 for a, b in zip([-1, *numbers], numbers, strict=False))
    assert gaps + (frames - 1 - numbers[-1]) == pipeline.dropped


def test_a_slow_model_stays_fresh_and_counts_drops_exactly() -> None:
    check_slow_model(150)


@pytest.mark.full
def test_a_slow_model_stays_fresh_for_2000_frames() -> None:
    check_slow_model(2000)


def test_a_recording_is_lossless_and_ordered_however_slow_the_model_and_the_sink() -> None:
    seen: list[int] = []

    def slow(result: Result) -> None:
        time.sleep(0.004)
        seen.append(result.frame.sequence)

    camera = ScriptedCamera(lambda k: make_frame(k) if k < 80 else None, live=False)
    pipeline = Pipeline(lambda: camera, FakeSession(0.002), [SinkRunner(Callback(slow), capacity=2)])
    summary = pipeline.run()
    assert seen == list(range(80))
    assert summary["processed"] == summary["captured"] == 80
    assert summary["dropped"] == summary["sinks"]["callback"]["dropped"] == 0


def test_latency_of_a_file_does_not_count_its_queue() -> None:
    camera = ScriptedCamera(lambda k: make_frame(k) if k < 12 else None, live=False)  # all wait at once
    totals = [result.stages["total"] for result in Pipeline(lambda: camera, FakeSession(0.05)).results()]
    assert np.median(totals) < 0.15, "the model's 50 ms and its surroundings, not four turns of it"


def test_a_recording_waits_where_it_is_paused_and_gives_single_frames() -> None:
    camera = ScriptedCamera(lambda k: make_frame(k) if k < 30 else None, live=False, fps=200)
    pipeline = Pipeline(lambda: camera, FakeSession())
    pipeline.capture.play(3)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        for expected, then in ((3, 1), (4, 0), (4, float("inf"))):
            time.sleep(0.3)
            assert (pipeline.telemetry.frames, pipeline.snapshot()["paused"]) == (expected, True)
            pipeline.capture.play(then)
    finally:
        pipeline.capture.play(float("inf"))
        thread.join(10)
    assert pipeline.telemetry.frames == 30


def test_a_file_goes_to_a_position_also_after_its_end() -> None:
    frames: list[int] = []
    pipeline = Pipeline(lambda: FramesCamera(Numbered(30), PlayOptions(), "numbers"), FakeSession())
    pipeline.capture.stays = True
    pipeline.sinks.append(SinkRunner(Callback(lambda result: frames.append(result.frame.sequence))))
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        eventually(lambda: pipeline.snapshot()["state"] == "finished" and len(frames) == 30)
        assert thread.is_alive()
        pipeline.capture.play(1, position=0.0)
        eventually(lambda: frames[30:] == [0])
        pipeline.capture.play(2, position=20 / 29)
        eventually(lambda: frames[31:] == [20, 21])
        assert pipeline.snapshot()["paused"]
        pipeline.capture.play(rate=100.0)
        eventually(lambda: frames[33:] == list(range(22, 30)) and pipeline.snapshot()["state"] == "finished")
        assert pipeline.snapshot()["rate"] == 100
    finally:
        pipeline.stop()
        thread.join(10)
    assert pipeline.snapshot()["state"] == "finished", "stopping what has ended does not count as stopping"


def test_results_carry_the_model_s_answer_for_their_own_frame() -> None:
    session = FakeSession()
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=5&size=96x64"), session)
    for result in pipeline.results():
        expected = preprocess.prepare(session.contract, result.frame.rgb, result.frame.depth)["rgb"][0, ..., 0]
        assert np.array_equal(result.outputs["saliency"], expected.astype(np.float32) / 255)
        parts = sum(result.stages[s] for s in ("capture", "wait", "pre", "infer", "post"))
        assert parts == pytest.approx(result.stages["total"], abs=1e-6)


def test_frames_limit_and_stop_end_the_run() -> None:
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&size=64x48"), frames=7)
    assert pipeline.run()["processed"] == 7
    endless = Pipeline(lambda: opening.camera("synthetic://?fps=30&size=64x48"))
    threading.Timer(0.3, endless.stop).start()
    began = time.monotonic()
    assert endless.run()["state"] == "stopped"
    assert time.monotonic() - began < 20


def test_reid_takes_two_images_and_says_so_when_one_is_missing() -> None:
    pipeline = Pipeline(
        lambda: opening.camera("synthetic://?fps=0&frames=3&size=64x48&nir=1"),
        FakeSession(task="reid"),
        match=lambda feature: ("someone", float(feature @ feature)),
    )
    for result in pipeline.results():
        assert result.match is not None
        assert result.match[0] == "someone"
        assert result.match[1] == pytest.approx(1.0, abs=1e-5)
    without = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=3&size=64x48"), FakeSession(task="reid"))
    assert any("near-infrared" in warning for warning in without.run()["warnings"])


def test_a_failing_model_ends_the_run_with_its_error_and_no_threads_left() -> None:
    class Broken(FakeSession):
        def _run(self, inputs: Arrays) -> Arrays:
            raise RuntimeError("out of memory")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        Pipeline(lambda: opening.camera("synthetic://?size=64x48"), Broken()).run()
    assert threading.active_count() == before


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def check_no_leaks(frames: int, size: str, folder: Path) -> None:
    """Recording and with a viewer on the page: resident memory after a tenth of the frames and at the end differ by at
    most 20 MB, threads and descriptors by none."""
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    pipeline = Pipeline(
        lambda: opening.camera(f"synthetic://?fps=0&frames={frames}&size={size}"), FakeSession(size=(64, 64))
    )
    with Preview("127.0.0.1:0", None, pipeline.snapshot) as page:
        recorder = SinkRunner(Recorder(folder, part_bytes=16 << 20))
        pipeline.sinks += [recorder, SinkRunner(page.channel, latest=True)]
        seen = [0]
        viewer = threading.Thread(target=watch, args=(page.server.url(), seen))
        viewer.start()
        warm = 0.0
        for result in pipeline.results():
            if result.number == frames // 10:
                warm = resident_mb()
        grown = resident_mb() - warm
    viewer.join(10)
    assert seen[0] > 1000, "the viewer got pictures"
    assert recorder.snapshot()["frames"] == frames
    assert grown <= 20
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def watch(url: str, seen: list[int]) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(url + "frames") as answer:
        while data := answer.read1(1 << 16):
            seen[0] += len(data)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has")
def test_two_thousand_frames_leak_nothing(tmp_path: Path) -> None:
    check_no_leaks(2000, "160x120", tmp_path)


@pytest.mark.full
def test_ten_thousand_frames_leak_nothing(tmp_path: Path) -> None:
    check_no_leaks(10_000, "320x240", tmp_path)
