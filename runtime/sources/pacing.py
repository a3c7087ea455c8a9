"""Plays a recording at its own speed, or a multiple of it; a jump of its clock is not waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

from mutualformer.runtime.sources.base import BaseCamera, CameraTimeout
from mutualformer.runtime.sources.frame import Frame

# A longer gap is a jump of the camera's clock, or a pause that no viewer wants to wait for.
LONGEST_GAP_SECONDS = 5.0


class Pace:
    """Waits by the ``rate`` of ``camera``, which gets warnings of jumps."""

    def __init__(self, camera: BaseCamera) -> None:
        self._camera = camera
        self._due = 0.0
        self._last: float | None = None

    def restart(self) -> None:
        """The next frame is due at once: it does not continue the one before."""
        self._last = None

    def wait(self, stamp: float, timeout: float) -> None:
        """Sleep until the frame of ``stamp`` (seconds) is due. Raises CameraTimeout if that is beyond ``timeout``."""
        rate = self._camera.rate
        if not rate:
            self._last = None
            return
        now = time.monotonic()
        if self._last is None:
            self._last, self._due = stamp, now
        if stamp != self._last:
            gap = stamp - self._last
            if 0 <= gap <= LONGEST_GAP_SECONDS:
                self._due += gap / rate
            else:
                self._due = now
                self._camera.warn(
                    f"{self._camera.name}: the clock jumps by {gap:.3g} s at {stamp:.3f} s, not waited for"
                )
            self._last = stamp
        late = self._due - now
        if late > timeout:
            time.sleep(timeout)
            raise CameraTimeout(f"{self._camera.name}: the next frame is {late:.1f} s away")
        if late > 0:
            time.sleep(late)


class PlayedCamera(BaseCamera):
    """A file whose frames come from a generator, at its own pace."""

    def play(
        self,
        frames: Generator[Frame, None, None],
        rate: float = 0.0,
        begin: Callable[[float], Generator[Frame, None, None]] | None = None,
    ) -> None:
        """Frames from now on, at ``rate``. ``begin``: frames from a position on, 0 … 1 of the file; None where it
        cannot seek."""
        self._frames, self._pace, self._begin = frames, Pace(self), begin
        self._pending: Frame | None = None
        self.rate, self.seekable = rate, begin is not None

    def seek(self, position: float) -> None:
        """As BaseCamera.seek."""
        if self._begin is None:
            super().seek(position)
            return
        self._frames.close()
        self._frames, self._pending = self._begin(position), None
        self._pace.restart()

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; after a CameraTimeout (the frame is not due yet) the same frame comes again."""
        began = time.perf_counter()
        frame = self._pending or next(self._frames, None)
        self.busy_s = time.perf_counter() - began
        self._pending = frame
        if frame is not None:
            self._pace.wait(frame.timestamp, timeout)
        self._pending = None
        return frame

    def close(self) -> None:
        """End the generator, which closes its files; one that runs in another thread ends by itself."""
        with contextlib.suppress(ValueError):
            self._frames.close()
