"""Two frames in flight: nothing lost or reordered, faster where frames wait, as fresh as one at a time elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.runtime.fakes import FakeSession, ScriptedCamera, make_frame


class QueueSession(FakeSession):
    """A GPU: calls are queued, computed one after another, ``delay`` seconds each, whatever the caller does."""

    in_flight = 2

    def __init__(self, delay: float) -> None:
        super().__init__(0.0)
        self.step, self.queue, self.free_at = delay, deque[tuple[float, dict[str, NDArray[Any]]]](), 0.0
        self.most = 0
        self.broken_at = -1
        self.calls = 0

    def submit(self, **inputs: NDArray[Any]) -> None:
        if len(self.queue) >= self.in_flight:
            raise InputError("2 calls are in flight already; collect one first")
        self.calls += 1
        if self.calls - 1 == self.broken_at:
            raise InputError("planted")
        self.free_at = max(self.free_at, time.monotonic()) + self.step
        self.queue.append((self.free_at, super().run(**inputs)))
        self.most = max(self.most, len(self.queue))

    def collect(self) -> dict[str, NDArray[Any]]:
        ready, outputs = self.queue.popleft()
        time.sleep(max(0.0, ready - time.monotonic()))
        return outputs


def camera(count: int, live: bool = False, fps: float = 0.0) -> ScriptedCamera:
    def script(index: int) -> Frame | None:
        return make_frame(index) if index < count else None

    return ScriptedCamera(script, live=live, fps=fps)


def test_a_file_is_answered_whole_and_in_order() -> None:
    session = QueueSession(0.002)
    results = list(Pipeline(lambda: camera(40), session).results())
    assert [result.frame.sequence for result in results] == list(range(40))
    assert [result.number for result in results] == list(range(40))
    one_by_one = list(Pipeline(lambda: camera(40), FakeSession()).results())
    for two, one in zip(results, one_by_one, strict=True):
        np.testing.assert_array_equal(two.outputs["saliency"], one.outputs["saliency"])
    assert session.most == 2
    assert not session.queue


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_no_frame_is_started_that_nobody_asked_for(frames: int) -> None:
    session = QueueSession(0.002)
    results = list(Pipeline(lambda: camera(40), session, frames=frames).results())
    assert [result.frame.sequence for result in results] == list(range(frames))
    assert session.calls == frames
    assert not session.queue


def seconds(session: FakeSession) -> float:
    """Time of 12 frames of a file whose results take the reader 50 ms each."""
    began = time.monotonic()
    for _ in Pipeline(lambda: camera(12), session).results():
        time.sleep(0.05)
    return time.monotonic() - began


def test_the_model_works_while_results_are_used() -> None:
    tries = (seconds(QueueSession(0.06)) < 0.85 * seconds(FakeSession(0.06)) for _ in range(5))
    assert any(tries), "one try may meet a busy machine"


def age(session: FakeSession) -> float:
    """Median seconds from capture to answer of a live camera's frames."""
    pipeline = Pipeline(lambda: camera(10**6, live=True, fps=100), session, frames=25)
    results = list(pipeline.results())[5:]
    numbers = [result.frame.sequence for result in results]
    assert numbers == sorted(set(numbers))
    assert pipeline.dropped > 0
    return float(np.median([result.stages["total"] for result in results]))


def test_a_live_camera_stays_as_fresh_as_one_by_one() -> None:
    """A model of 80 ms at 100 frames a second: the frame that is taken is the newest, and waits for nobody."""
    limit = 0.16  # behind another frame in a queue it would be that old
    tries = (age(QueueSession(0.08)) < min(limit, 1.6 * age(FakeSession(0.08))) for _ in range(5))
    assert any(tries), "one try may meet a busy machine"


def test_stopping_leaves_nothing_in_flight() -> None:
    session = QueueSession(0.01)
    pipeline = Pipeline(lambda: camera(10**6), session)
    for result in pipeline.results():
        if result.number == 3:
            pipeline.stop()
    assert not session.queue
    assert pipeline.state == "stopped"
    results = Pipeline(lambda: camera(10**6), session).results()
    next(results)
    results.close()
    assert not session.queue


def test_an_error_leaves_nothing_in_flight() -> None:
    session = QueueSession(0.01)
    session.broken_at = 5
    with pytest.raises(InputError, match="planted"):
        list(Pipeline(lambda: camera(40), session).results())
    assert not session.queue
