"""Two ways to take the same frames: files played as a camera, and a recording or video indexed as files."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mutualformer.runtime.sources.base import WITHOUT_DEPTH, BaseCamera, Camera, CameraError, CameraTimeout
from mutualformer.runtime.sources.frame import DataError, Frame, Frames, Item
from mutualformer.runtime.sources.pacing import Pace

PATIENT_SECONDS = 20.0  # that a late frame of a recording or network camera is waited for


@dataclass(frozen=True)
class PlayOptions:
    """``fps``: makes times for files that have none. ``rate``: play at this multiple of the recorded speed, 0 = as fast
    as frames are taken. ``loop``: begin again at the end."""

    fps: float = 30.0
    rate: float = 0.0
    loop: bool = False


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Warnings that this thread logs inside, as a list instead: a camera keeps them with its own."""
    said: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or record.thread != thread:
            return True
        said.append(record.getMessage())
        return False

    log = logging.getLogger("mutualformer")
    log.addFilter(keep)
    try:
        yield said
    finally:
        log.removeFilter(keep)


class FramesCamera(BaseCamera):
    """Frames by number, in order; one that cannot be read is left out and said in ``warnings``."""

    def __init__(self, frames: Frames, options: PlayOptions, name: str) -> None:
        super().__init__(
            name,
            live=False,
            intrinsics=getattr(frames, "intrinsics", None),
            depth_scale=getattr(frames, "depth_scale", None),
        )
        if not (0 < options.fps < math.inf and 0 <= options.rate < math.inf):
            raise CameraError(f"{name}: expected fps > 0 and rate ≥ 0")
        self._frames, self._options = frames, options
        self._pace, self._next, self._usable = Pace(options.rate, self), 0, 0
        if not frames.has_depth:
            self.warn(f"{name}: {WITHOUT_DEPTH}", key="no depth")

    def _more(self) -> bool:
        """Whether a frame is left; a loop ends where not one of them could be used."""
        return self._next < len(self._frames) or (self._options.loop and self._usable > 0)

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; frame times are the files' own, else index / fps. Frames that cannot be read are left out."""
        while self._more():
            began = time.perf_counter()
            index, self._next = self._next, self._next + 1
            made = index / self._options.fps
            if self._options.rate > 0:
                self._wait(made, timeout)
            try:
                item = self._frames[index % len(self._frames)]
            except DataError as error:
                self.leave_out(str(error))
                continue
            if not item.metric:
                self.warn(f"{self.name}: depth has no unit: near and far are right, distances are not", key="unit")
            self.busy_s = time.perf_counter() - began
            self._usable += 1
            stamp = item.time if item.time is not None and not self._options.loop else made
            depth_stamp = item.depth_time if item.depth_time is not None and not self._options.loop else stamp
            return Frame(item.rgb, item.depth, stamp, depth_stamp, index, item.nir)
        self.sum_up()
        return None

    def _wait(self, stamp: float, timeout: float) -> None:
        try:
            self._pace.wait(stamp, timeout)
        except CameraTimeout:
            self._next -= 1
            raise


class CameraFrames:
    """A recording or video by number: played forward as far as asked for, from the start again where it lies behind.

    ``open``: a new camera at the first frame. The first pass counts; asking in order decodes each frame once more.
    Raises DataError where there is no frame.
    """

    def __init__(self, open: Callable[[], Camera], label: str) -> None:
        self._open, self.label = open, label
        self._camera: Camera | None = None
        self._at = 0
        self._count, self.has_depth = 0, False
        while (frame := self._following()) is not None:
            self._count += 1
            self.has_depth = self.has_depth or bool(np.any(frame.depth))
        if not self._count:
            raise DataError(f"{label}: holds no frame that can be read")

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """What frame ``index`` is called."""
        return f"{self.label}-{index:06d}"

    def _following(self) -> Frame | None:
        if self._camera is None:
            self._camera, self._at = self._open(), 0
        waited = 0.0
        while True:
            try:
                frame = self._camera.read(1.0)
                break
            except CameraTimeout:
                waited += 1.0
                if waited >= PATIENT_SECONDS:
                    raise CameraError(f"{self.label}: no frame for {PATIENT_SECONDS:g} s") from None
        self._at += 1
        if frame is None:
            self._camera.close()
            self._camera = None
        return frame

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if self._camera is not None and self._at > index:
            self._camera.close()
            self._camera = None
        while True:
            frame = self._following()
            if frame is None:
                raise DataError(f"{self.label}: frame {index} cannot be read a second time")
            if self._at == index + 1:
                break
        item = Item(frame.rgb, frame.depth, None, self.name(index), nir=frame.nir)
        return item._replace(time=frame.timestamp, depth_time=frame.depth_timestamp)
