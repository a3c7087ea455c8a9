"""The capture thread reads the camera, fills the mailbox, and reconnects a lost camera.

A camera's driver cannot hang the program: a thread that stays inside the driver for too long is abandoned, and a new
thread opens the camera again.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mutualformer.runtime.mailbox import Mailbox
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.depth_range import FAR_M, NEAR_M, DepthWatch
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.health import Health

Opener = Callable[[], BaseCamera]


@dataclass(frozen=True)
class Retry:
    """How a lost camera is reconnected. The wait between attempts doubles from ``first_s`` to ``most_s`` seconds.

    Timeouts in seconds: a live camera counts as lost after ``stall_s`` without a frame; ``open_s`` for opening it, also
    again, because a network camera may take ten seconds each time; ``stall_s`` for closing it; ``read_s`` for one read;
    ``file_s`` for one frame of a file, which is never reopened.
    """

    attempts: int = 30
    first_s: float = 0.1
    most_s: float = 2.0
    stall_s: float = 2.0
    open_s: float = 20.0
    read_s: float = 0.5
    file_s: float = 120.0


class _Fatal(CameraError):
    """An error that opening the camera again would not fix."""


@dataclass(frozen=True)
class Captured:
    """A frame, when it arrived (monotonic clock) and how long its driver worked on it, both in seconds.

    ``seek``: number of the last seek before it was read."""

    frame: Frame
    arrived: float
    busy_s: float
    seek: int = 0


class Capture:
    """Owns the camera. ``state``: one short phrase for people. ``error``: why no further frame will come, else empty.

    ``depth_range``: (near, far) in metres that the model was trained for; depth outside of it causes one warning.
    """

    def __init__(
        self, opener: Opener, retry: Retry | None = None, depth_range: tuple[float, float] = (NEAR_M, FAR_M)
    ) -> None:
        self._opener, self.retry = opener, retry or Retry()
        self._depth = DepthWatch(*depth_range)
        self.state, self.error = "opening", ""
        self.camera: BaseCamera | None = None
        self.mailbox: Mailbox[Captured] | None = None
        self.captured = 0
        self.skipped = 0
        self.reconnects = 0
        self.abandoned = 0
        self.allowed = math.inf  # frames that a recording may still play
        self.stays = False  # at the end of a file that can seek, wait for a seek or for stop()
        self._sought = (0, 0.0)  # number of the last seek, and its position
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # Each capture thread has a number. A thread that was abandoned inside a driver and comes back later finds
        # another number here, and ends without touching anything.
        self._generation = 0
        self._busy_since: tuple[float, float] | None = None
        self._failures = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start a thread that reads; returns at once."""
        self._thread = threading.Thread(
            target=self._run, args=(self._generation,), name=f"capture-{self._generation}", daemon=True
        )
        self._thread.start()

    def wait_opened(self, timeout: float) -> bool:
        """True once the first attempt to open has ended: either ``camera`` or ``error`` is set then."""
        return self._opened.wait(timeout)

    def get(self, timeout: float) -> Captured | None:
        """The next frame; None when there is none within ``timeout`` seconds, and for a frame from before a seek.

        Also calls :meth:`watch`.
        """
        if self.mailbox is None:
            self._opened.wait(timeout)
            self.watch()
            return None
        if self.paused:
            self._stopping.wait(timeout)
            return None
        item = self.mailbox.get(timeout)
        if item is None:
            self.watch()
        elif item.seek != self._sought[0]:
            return None
        else:
            self.allowed -= 1
        return item

    def play(self, frames: float = math.inf, position: float | None = None, rate: float | None = None) -> None:
        """A recording plays ``frames`` frames and waits: 0 pauses it, infinity lets it go on. Cameras ignore this.

        ``position``: 0 … 1, where a file that can seek goes first. ``rate``: multiple of the recorded speed from now
        on, 0 = as fast as frames are taken.
        """
        if position is not None and self.seekable:
            self._sought = (self._sought[0] + 1, position)
        if rate is not None and self.camera is not None and self.camera.rate is not None:
            self.camera.rate = rate
        self.allowed = frames

    @property
    def seekable(self) -> bool:
        """Whether :meth:`play` can go to a position."""
        return self.camera is not None and self.camera.seekable

    @property
    def rate(self) -> float | None:
        """The ``rate`` of :meth:`play`; None for sources whose speed cannot be chosen."""
        return self.camera.rate if self.camera is not None else None

    @property
    def ended(self) -> bool:
        """Whether every frame up to the end was taken of a file that waits there for a seek (``stays``)."""
        return self.stays and self.state == "finished" and not self.mailbox

    def watch(self) -> None:
        """Replace a thread that is stuck inside the driver."""
        with self._lock:
            # Under the lock, a call that returns at this very moment is not taken for a stuck one.
            busy = self._busy_since
            if busy is None or self._stopping.is_set() or time.monotonic() - busy[0] <= busy[1]:
                return
            self._generation += 1
            self._busy_since = None
            self.abandoned += 1
        if self.camera is None:
            self._give_up(f"the camera did not open within {self.retry.open_s:g} s; unplug it and plug it in again")
        elif not self.camera.live:
            self._give_up(f"{self.camera.name}: its reader has not answered for {self.retry.file_s:g} s, giving up")
        elif self.abandoned > self.retry.attempts:
            self._give_up(f"{self.camera.name}: its driver hung {self.abandoned} times, giving up")
        else:
            self.state = "reconnecting: the driver does not answer"
            self.reconnects += 1
            self.start()

    @property
    def live(self) -> bool:
        """Whether frames that come too fast replace each other; False for files, and before the camera is open."""
        return self.camera is not None and self.camera.live

    @property
    def paused(self) -> bool:
        """Whether a recording waits for :meth:`play`."""
        return self.allowed < 1 and not self.live

    @property
    def finished(self) -> bool:
        """No further frame will come."""
        return self.mailbox.finished if self.mailbox is not None else bool(self.error)

    def stop(self, timeout: float = 2.0) -> None:
        """Close the camera and end the thread; a thread stuck in a driver is left behind as a daemon."""
        self._stopping.set()
        if self.mailbox is not None:
            self.mailbox.close()
        if self._thread is not None:
            self._thread.join(timeout)
            # Python cannot end a thread that is inside native code. As a daemon it ends with the process.
            if self._thread.is_alive():
                self.abandoned += 1

    # The methods below run inside the capture thread.

    def _mine(self, generation: int) -> bool:
        return generation == self._generation and not self._stopping.is_set()

    def _guard(self, generation: int, limit: float | None) -> None:
        """Record that a call of the driver begins, with its timeout ``limit`` in seconds; None: the call returned."""
        with self._lock:
            if generation == self._generation:
                self._busy_since = None if limit is None else (time.monotonic(), limit)

    def _run(self, generation: int) -> None:
        while self._mine(generation):
            failure = self._one_camera(generation)
            if failure is None or not self._mine(generation) or not self._may_retry(failure):
                return

    def _one_camera(self, generation: int) -> CameraError | None:
        """Open, read until the end, close. Returns the error that ended it, None for an ordinary end."""
        camera: BaseCamera | None = None
        try:
            self._guard(generation, self.retry.open_s)
            # Opening and closing are calls of the driver too and may hang like reading.
            camera = self._opener()
            self._guard(generation, None)
            if self._mine(generation):
                self._adopt(camera)
                self._read_all(camera, generation)
            return None
        except CameraError as error:
            return error
        except Exception as error:  # a driver may raise anything
            return _Fatal(f"{getattr(camera, 'name', 'the camera')}: {type(error).__name__}: {error}")
        finally:
            self._guard(generation, self.retry.stall_s)
            # Closing a camera that is already unplugged may fail; nothing is left to release then.
            with contextlib.suppress(Exception):
                if camera is not None:
                    camera.close()
            self._guard(generation, None)

    def _adopt(self, camera: BaseCamera) -> None:
        if self.mailbox is None:
            self.mailbox = Mailbox(lossless=not camera.live)
        self.camera = camera
        self._opened.set()

    def _read_all(self, camera: BaseCamera, generation: int) -> None:
        """Read until the end of a recording. Raises CameraLost when the camera must be opened again."""
        assert self.mailbox is not None
        health, last_sequence, last_frame = Health(), None, time.monotonic()
        # The driver is asked to return after read_s; it counts as stuck well after that. Files may take longer, because
        # a reader may have to search.
        limit = self.retry.read_s + (self.retry.stall_s if camera.live else self.retry.file_s)
        seek = 0
        while self._mine(generation):
            self._guard(generation, limit)
            if self._sought[0] != seek:
                seek, position = self._sought
                camera.seek(position)
            try:
                frame = camera.read(self.retry.read_s)
            except CameraTimeout as late:
                self._guard(generation, None)
                if not self._mine(generation):
                    return
                self.state = "late: waiting for frames"
                # After an unplug a driver may answer "no frame yet" for ever; only opening the camera again helps.
                if camera.live and time.monotonic() - last_frame >= self.retry.stall_s:
                    raise CameraLost(f"{camera.name}: no frame for {self.retry.stall_s:g} s") from late
                continue
            now = time.monotonic()
            self._guard(generation, None)
            if not self._mine(generation):
                return
            if frame is None:
                self._depth.end(camera)
                if not self.captured:
                    raise _Fatal(nothing_came(camera))
                self.state = "finished"
                while self.stays and self.seekable and self._mine(generation) and self._sought[0] == seek:
                    self._stopping.wait(0.1)
                if self._sought[0] != seek:
                    continue
                self.mailbox.close()
                return
            last_frame, self._failures = now, 0
            self._depth.observe(frame.depth, camera)
            # Gaps in the device's own numbering. Frames that we drop are counted by the mailbox.
            if last_sequence is not None and camera.live and frame.sequence > last_sequence + 1:
                self.skipped += frame.sequence - last_sequence - 1
            last_sequence = frame.sequence
            self.state = health.observe(frame, now) or "running"
            self.captured += 1
            # The frame arrived when the driver began to work on it, not when it was done: latency counts its decoding.
            self.mailbox.put(Captured(frame, now - camera.busy_s, camera.busy_s, seek))

    def _may_retry(self, error: CameraError) -> bool:
        """After a failure: wait and return True, or give up and return False."""
        first_time = self.camera is None
        live = self.camera is not None and self.camera.live
        if first_time or not live or isinstance(error, _Fatal) or self._failures >= self.retry.attempts:
            tail = f" (gave up after {self._failures} attempts)" if self._failures else ""
            self._give_up(f"{error}{tail}")
            return False
        # Doubling waits: a cable that is plugged in again is found at once, and a camera that stays away costs nothing.
        wait = min(self.retry.first_s * 2**self._failures, self.retry.most_s)
        self._failures += 1
        self.reconnects += 1
        self.state = f"reconnecting ({self._failures}/{self.retry.attempts}): {error}"
        return not self._stopping.wait(wait)

    def _give_up(self, sentence: str) -> None:
        self.error, self.state = sentence, "lost"
        if self.mailbox is not None:
            self.mailbox.close()
        self._opened.set()


def nothing_came(camera: BaseCamera) -> str:
    """Why a source gave no frame: its first reason for leaving a frame out, else its last warning."""
    reason = camera.first_reason or (camera.warnings[-1] if camera.warnings else "it holds none")
    return f"{camera.name}: no frame could be used: {reason.removeprefix(f'{camera.name}: ')}"
