"""What every RGB-D source gives the pipeline: :class:`Frame`, :class:`BaseCamera`, and the errors it may raise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import CameraError as CameraError
from mutualformer.runtime.sources.frame import Frame, Intrinsics, metres

MOST_WARNINGS = 100
NAMED_FRAMES = 3  # warn of this many frames that are left out, count the others
NEXT_FRAME_SECONDS = 20.0  # timeout for the next frame of a recording or network camera
# The warning of a source without depth.
WITHOUT_DEPTH = "no depth: colour only, no distances"


class CameraLost(CameraError):
    """The source worked and stopped working (unplugged, driver reset). Opening it again may help."""


class CameraTimeout(CameraError):
    """No frame within the time given to ``read``. The source may still recover by itself."""


class BaseCamera:
    """A source of frames: the attributes, iteration, and use in a ``with`` statement. A source has its own ``read``.

    ``name``: for messages. ``live``: True where frames that are not read in time are lost (a device), False where they
    wait (a recording): the pipeline drops old frames of the former and none of the latter. ``intrinsics``: None where
    the source does not know. ``depth_scale``: metres per unit where depth came as 16-bit integers, None where it came
    as float. ``busy_s``: seconds spent on the last frame after it arrived (alignment, decoding). ``warnings``: what was
    wrong with the source without stopping it, one sentence each.
    """

    def __init__(
        self,
        name: str,
        *,
        live: bool,
        intrinsics: Intrinsics | None = None,
        depth_scale: float | None = None,
    ) -> None:
        self.name = name
        self.live = live
        self.intrinsics = intrinsics
        self.depth_scale = depth_scale
        self.busy_s = 0.0
        self.warnings: list[str] = []
        # Of files: whether :meth:`seek` works, and the multiple of the recorded speed, 0 = as fast as frames are taken.
        self.seekable = False
        self.rate: float | None = None
        self.left_out = 0
        self.first_reason = ""
        self._warned: set[str] = set()

    def read(self, timeout: float = 1.0) -> Frame | None:
        """The next frame; None at a recording's end. Raises CameraTimeout after ``timeout`` seconds, CameraLost."""
        raise NotImplementedError(f"{type(self).__name__} must implement read")

    def seek(self, position: float) -> None:
        """Go on at this share of the file, 0 … 1; for the thread that reads. Raises CameraError if not seekable."""
        raise CameraError(f"{self.name}: cannot seek")

    def close(self) -> None:
        """Give the device or file back. May be called twice, and from another thread while ``read`` waits."""

    def warn(self, sentence: str, key: str = "") -> None:
        """Keep a warning once per ``key``, or per sentence where no key is given.

        A camera that runs for days must not collect millions of sentences.
        """
        if (key or sentence) not in self._warned and len(self.warnings) < MOST_WARNINGS:
            self._warned.add(key or sentence)
            self.warnings.append(sentence)

    def leave_out(self, reason: str) -> None:
        """Count a frame that cannot be used; warn of the first few. :meth:`sum_up` reports the total."""
        self.left_out += 1
        self.first_reason = self.first_reason or reason
        if self.left_out <= NAMED_FRAMES:
            self.warn(f"{self.name}: frame left out: {reason}")

    def sum_up(self, unpaired: int = 0) -> None:
        """At the end of a recording: warn how many frames were left out, if not all of them were named, and how many
        colour images were ``unpaired``."""
        if unpaired:
            self.warn(f"{self.name}: {unpaired} colour images have no depth at their time, left out")
        if self.left_out > NAMED_FRAMES:
            self.warn(f"{self.name}: {self.left_out} frames left out in all")

    def sleep(self, seconds: float, timeout: float) -> None:
        """Wait ``seconds`` until a frame is due. Raises CameraTimeout if that is beyond ``timeout``."""
        if seconds > timeout:
            time.sleep(timeout)
            raise CameraTimeout(f"{self.name}: the next frame is {seconds:.1f} s away")
        time.sleep(max(0.0, seconds))

    def __iter__(self) -> Iterator[Frame]:
        while (frame := next_frame(self)) is not None:
            yield frame

    def __enter__(self) -> BaseCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DeviceCamera(BaseCamera):
    """Reading and closing, shared by all plugged-in cameras. A driver implements :meth:`grab` and :meth:`convert`.

    ``connected``: called when no frame came in time; False means the camera is gone. ``stop``: gives the device back.
    ``lost``: the driver's own exceptions that mean the camera is lost.
    """

    lost: tuple[type[Exception], ...] = (RuntimeError,)

    def __init__(
        self,
        name: str,
        *,
        connected: Callable[[], bool] = lambda: True,
        stop: Callable[[], None] = lambda: None,
        intrinsics: Intrinsics | None = None,
        depth_scale: float | None = None,
    ) -> None:
        super().__init__(name, live=True, intrinsics=intrinsics, depth_scale=depth_scale)
        self._connected, self._stop = connected, stop
        self._closed = False

    def grab(self, timeout: float) -> Any:
        """Whatever the driver hands over within ``timeout`` seconds, None when nothing came."""
        raise NotImplementedError(f"{type(self).__name__} must implement grab")

    def convert(self, raw: Any) -> Frame | None:
        """What :meth:`grab` returned → a frame, None where it is not a whole one yet."""
        raise NotImplementedError(f"{type(self).__name__} must implement convert")

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As BaseCamera.read: grabs and converts until a whole frame is there. Never returns None.

        Raises CameraLost where the driver says so, or where time ran out and ``connected`` says that the device
        is gone.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                raw = self.grab(max(0.001, end - time.monotonic()))
            except self.lost as error:
                raise CameraLost(f"{self.name}: {error}") from error
            if raw is not None:
                began = time.perf_counter()
                frame = self.convert(raw)
                if frame is not None:
                    self.busy_s = time.perf_counter() - began
                    return frame
            if time.monotonic() >= end:
                if not self._connected():
                    raise CameraLost(f"{self.name}: unplugged")
                raise CameraTimeout(f"{self.name}: no new colour and depth within {timeout:g} s")

    def frame(
        self, rgb: NDArray[np.uint8], units: NDArray[Any], scale: float, stamps: Sequence[float], number: int
    ) -> Frame:
        """A frame of 16-bit depth. ``stamps``: seconds of colour and depth. Raises CameraError where sizes differ."""
        if units.dtype != np.uint16 or rgb.ndim != 3 or units.shape != rgb.shape[:2]:
            what = f"depth is {units.dtype} {units.shape} and colour {rgb.shape}"
            raise CameraError(f"{self.name}: {what}, expected uint16 and RGB of one size")
        return Frame(rgb, metres(units, scale), stamps[0], stamps[1], number)

    def close(self) -> None:
        """Stop the device, once however often this is called."""
        if not self._closed:
            self._closed = True
            self._stop()


class ColourCamera(DeviceCamera):
    """A device without depth: all pixels are holes. Frame times are this machine's, in seconds since 1970."""

    def __init__(self, name: str, **rest: Any) -> None:
        super().__init__(name, **rest)
        self._count = 0
        self.warn(f"{name}: {WITHOUT_DEPTH}", key="no depth")

    def colour(self, rgb: NDArray[Any]) -> Frame:
        """The next frame, of (H, W, 3) uint8 RGB."""
        stamp = time.time()
        self._count += 1
        return Frame(np.asarray(rgb, np.uint8), np.zeros(rgb.shape[:2], np.float32), stamp, stamp, self._count - 1)


def next_frame(camera: BaseCamera, seconds: float = NEXT_FRAME_SECONDS) -> Frame | None:
    """As BaseCamera.read, with retries for ``seconds``. Raises CameraError after them."""
    end = time.monotonic() + seconds
    while True:
        try:
            return camera.read(1.0)
        except CameraTimeout:
            if time.monotonic() >= end:
                raise CameraError(f"{camera.name}: no frame for {seconds:g} s") from None


def chosen(target: str, present: Sequence[str], name: str, remedy: str) -> str:
    """``target``, or the first of the ``present`` devices where it is empty. Raises CameraError."""
    if not present or (target and target not in present):
        raise CameraError(f"{name}: no such camera (connected: {', '.join(present) or 'none'}); check {remedy}")
    return target or present[0]
