"""Frames between submission and answer: two at a time where the backend overlaps calls, one otherwise.

With two in flight the next frame is resized and copied while the GPU works on the previous one. A live camera's frame
must not age in that queue, so it is taken from the mailbox as late as possible: when the rest of the running call is
expected to take about as long as preparing the frame.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mutualformer.runtime.preprocess import Runner
from mutualformer.runtime.streaming.capture import Captured

Arrays = dict[str, NDArray[Any]]
_NEW = 0.2  # weight of the newest time in the running means
_EARLY = 0.8  # hold a frame back for at most this share of a usual call, since calls may have become shorter


@dataclass(frozen=True)
class Started:
    """A frame on its way: when it was taken and when its inputs were ready, seconds of ``time.monotonic``."""

    item: Captured
    taken_at: float
    prepared: float


class Flight:
    """Calls of one session, in order; with ``in_flight`` above 1 by its ``submit`` and ``collect``.

    Without a session every frame has an empty answer.
    """

    def __init__(self, session: Runner | None) -> None:
        self._session: Any = session
        self.depth = int(getattr(session, "in_flight", 1))
        self._flying: deque[Started] = deque()
        self._answers: deque[Arrays] = deque()  # of a session that computes in submit
        self._prepare_s = self._call_s = self._free_at = 0.0

    def __len__(self) -> int:
        return len(self._flying)

    def submit(self, item: Captured, taken_at: float, inputs: Arrays) -> None:
        """Start one frame. Raises what the session raises; the frame is then not in flight."""
        started = Started(item, taken_at, time.monotonic())
        self._prepare_s += _NEW * (started.prepared - taken_at - self._prepare_s)
        if self.depth > 1:
            self._session.submit(**inputs)
        else:
            self._answers.append(self._session.run(**inputs) if self._session is not None else {})
        self._flying.append(started)

    def collect(self) -> tuple[Started, Arrays, float]:
        """The oldest frame, its outputs, and when they were there. Raises what the session raises."""
        started = self._flying.popleft()
        outputs = self._session.collect() if self.depth > 1 else self._answers.popleft()
        now = time.monotonic()
        self._call_s += _NEW * (now - max(started.prepared, self._free_at) - self._call_s)
        self._free_at = now
        return started, outputs, now

    def hold(self, stop: threading.Event) -> None:
        """Wait until the next frame of a live camera should be taken, so that it is the newest when its turn comes."""
        if self._flying:
            began = max(self._flying[0].prepared, self._free_at)
            wait = began + _EARLY * self._call_s - self._prepare_s - time.monotonic()
            if wait > 0:
                stop.wait(wait)

    def abandon(self) -> None:
        """Collect and drop what is in flight, so that the session can be used again."""
        while self._flying:
            with contextlib.suppress(Exception):
                self.collect()
