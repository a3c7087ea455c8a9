"""Plays a recording at its own speed, or a multiple of it; a jump of its clock is not waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.sources.frame import Frame

# A longer gap is a jump of the camera's clock, or a pause that no viewer wants to wait for.
LONGEST_GAP_SECONDS = 5.0


class PlayedCamera(BaseCamera):
    """A file whose frames come from a generator, at its own pace."""

    def play(
        self,
        begin: Callable[[float], Generator[Frame, None, None]],
        rate: float = 0.0,
        seekable: bool = True,
    ) -> None:
        """Frames from now on, at ``rate``. ``begin``: the frames from a position on, 0 … 1 of the file, and only from 0
        where it is not ``seekable``."""
        self._frames, self._begin = begin(0.0), begin
        self._pending: Frame | None = None
        # Of the frame before: when it was due (monotonic), and its stamp.
        self._due = 0.0
        self._stamp: float | None = None
        self.rate, self.seekable = rate, seekable

    def seek(self, position: float) -> None:
        """As BaseCamera.seek."""
        if not self.seekable:
            super().seek(position)
        self._frames.close()
        self._frames, self._pending = self._begin(position), None
        self._stamp = None  # the next frame is due at once: it does not continue the one before

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As BaseCamera.read; after a CameraTimeout (the frame is not due yet) the same frame comes again."""
        began = time.perf_counter()
        frame = self._pending or next(self._frames, None)
        self.busy_s = time.perf_counter() - began
        self._pending = frame
        if frame is not None:
            self._wait(frame.timestamp, timeout)
        self._pending = None
        return frame

    def _wait(self, stamp: float, timeout: float) -> None:
        """Sleep until the frame of ``stamp`` (seconds) is due. Raises CameraTimeout if that is beyond ``timeout``."""
        if not self.rate:
            self._stamp = None
            return
        now = time.monotonic()
        if self._stamp is None:
            self._stamp, self._due = stamp, now
        if stamp != self._stamp:
            gap = stamp - self._stamp
            if 0 <= gap <= LONGEST_GAP_SECONDS:
                self._due += gap / self.rate
            else:
                self._due = now
                self.warn(f"{self.name}: the clock jumps by {gap:.3g} s at {stamp:.3f} s, not waited for")
            self._stamp = stamp
        self.sleep(self._due - now, timeout)

    def close(self) -> None:
        """End the generator, which closes its files; one that runs in another thread ends by itself."""
        with contextlib.suppress(ValueError):
            self._frames.close()
