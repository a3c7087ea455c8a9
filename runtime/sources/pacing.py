"""Plays a recording at its own speed, or a multiple of it; a jump of its clock is not waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator

from mutualformer.runtime.sources.base import BaseCamera, CameraTimeout
from mutualformer.runtime.sources.frame import Frame

# A longer gap is a jump of the camera's clock, or a pause that no viewer wants to wait for.
LONGEST_GAP_SECONDS = 5.0


class Pace:
    """``rate``: multiple of the recorded speed, 0 = as fast as frames are taken. ``camera`` gets warnings of jumps."""

    def __init__(self, rate: float, camera: BaseCamera) -> None:
        self._rate, self._camera = rate, camera
        self._due = 0.0
        self._last: float | None = None

    def wait(self, stamp: float, timeout: float) -> None:
        """Sleep until the frame of ``stamp`` (seconds) is due. Raises CameraTimeout if that is beyond ``timeout``."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        if self._last is None:
            self._last, self._due = stamp, now
        if stamp != self._last:
            gap = stamp - self._last
            if 0 <= gap <= LONGEST_GAP_SECONDS:
                self._due += gap / self._rate
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

    def play(self, frames: Generator[Frame, None, None], rate: float = 0.0) -> None:
        """Frames from now on; ``rate``: as of :class:`Pace`."""
        self._frames, self._pace = frames, Pace(rate, self)
        self._pending: Frame | None = None

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
