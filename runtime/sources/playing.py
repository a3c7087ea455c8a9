"""Two adapters: files played as a camera, and a recording or video indexed like files."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mutualformer.runtime.sources.base import WITHOUT_DEPTH, BaseCamera, CameraError, next_frame
from mutualformer.runtime.sources.frame import DataError, Frame, Frames, Item
from mutualformer.runtime.sources.pacing import PlayedCamera


@dataclass(frozen=True)
class PlayOptions:
    """``fps``: gives times to files that have none. ``rate``: play at this multiple of the recorded speed, 0 = as fast
    as frames are taken. ``loop``: begin again at the end."""

    fps: float = 30.0
    rate: float = 0.0
    loop: bool = False


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the warnings that this thread logs inside, instead of printing them: a camera keeps its own list."""
    warnings: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or record.thread != thread:
            return True
        warnings.append(record.getMessage())
        return False

    log = logging.getLogger("mutualformer")
    log.addFilter(keep)
    try:
        yield warnings
    finally:
        log.removeFilter(keep)


class FramesCamera(PlayedCamera):
    """Frames by number, in order; one that cannot be read is left out with a warning.

    Frame times are the files' own; number / fps where they have none, and in a loop.
    """

    def __init__(self, frames: Frames, options: PlayOptions, name: str) -> None:
        super().__init__(
            name,
            live=False,
            intrinsics=getattr(frames, "intrinsics", None),
            depth_scale=getattr(frames, "depth_scale", None),
        )
        if not (0 < options.fps < math.inf and 0 <= options.rate < math.inf):
            raise CameraError(f"{name}: expected fps > 0 and rate ≥ 0")
        if not frames.has_depth:
            self.warn(f"{name}: {WITHOUT_DEPTH}", key="no depth")
        self.play(partial(self._all, frames, options), options.rate)

    def _all(self, frames: Frames, options: PlayOptions, position: float) -> Generator[Frame, None, None]:
        last, again = max(1, len(frames) - 1), True
        number = round(position * (len(frames) - 1))
        while again:
            again = False  # a loop ends where not one frame could be used
            for index in range(number % len(frames), len(frames)):
                made = number / options.fps
                number += 1
                try:
                    item = frames[index]
                except DataError as error:
                    self.leave_out(str(error))
                    continue
                if not item.metric:
                    self.warn(f"{self.name}: depth has no unit: near and far are right, distances are not", key="unit")
                stamp = item.time if item.time is not None and not options.loop else made
                depth_stamp = item.depth_time if item.depth_time is not None and not options.loop else stamp
                again = options.loop
                yield Frame(item.rgb, item.depth, stamp, depth_stamp, number - 1, item.nir, index / last)
        self.sum_up()


class CameraFrames:
    """A recording or video by number: it is played forward to the requested frame, for an earlier one from the start.

    ``open``: returns a new camera at the first frame. The constructor plays it once to count; asking in order decodes
    each frame once more. Raises DataError where there is no frame.
    """

    def __init__(self, open: Callable[[], BaseCamera], label: str) -> None:
        self._open, self.label = open, label
        self._camera: BaseCamera | None = None
        self._at = 0
        self._count, self.has_depth = 0, False
        while (frame := self._following()) is not None:
            self._count += 1
            self.has_depth = self.has_depth or bool(np.any(frame.depth))
        self._restart()
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
        self._at += 1
        return next_frame(self._camera)

    def _restart(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if self._at > index:
            self._restart()
        frame = self._following()
        while frame is not None and self._at <= index:
            frame = self._following()
        if frame is None:
            self._restart()
            raise DataError(f"{self.label}: frame {index} cannot be read a second time")
        item = Item(frame.rgb, frame.depth, None, self.name(index), nir=frame.nir)
        return item._replace(time=frame.timestamp, depth_time=frame.depth_timestamp)
