"""Frames between submission and answer: two at a time where the backend overlaps calls, one otherwise.

With two in flight the next frame is resized and copied while the GPU works on the previous one. A live camera's frame
would age in that queue, so of live cameras one frame is in flight.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mutualformer.runtime.preprocess import Runner
from mutualformer.runtime.streaming.capture import Captured

Arrays = dict[str, NDArray[Any]]


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

    def __len__(self) -> int:
        return len(self._flying)

    def submit(self, item: Captured, taken_at: float, inputs: Arrays) -> None:
        """Start one frame. Raises what the session raises; the frame is then not in flight."""
        started = Started(item, taken_at, time.monotonic())
        if self.depth > 1:
            self._session.submit(**inputs)
        else:
            self._answers.append(self._session.run(**inputs) if self._session is not None else {})
        self._flying.append(started)

    def collect(self) -> tuple[Started, Arrays, float]:
        """The oldest frame, its outputs, and when they were there. Raises what the session raises."""
        started = self._flying.popleft()
        outputs = self._session.collect() if self.depth > 1 else self._answers.popleft()
        return started, outputs, time.monotonic()

    def abandon(self) -> None:
        """Collect and drop what is in flight, so that the session can be used again."""
        while self._flying:
            with contextlib.suppress(Exception):
                self.collect()
