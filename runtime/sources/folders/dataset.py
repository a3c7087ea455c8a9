"""Data sets, the real sample and photographs as sources: ``dataset:DATA``, ``sample:NAME``, a folder, a picture.

DATA is read as ``evaluate`` and ``predict`` read it (``sources/folders/spec.py``); a folder without the layout of
a data set is taken as photographs, which have no depth: that is said once, and the model works from colour alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import WITHOUT_DEPTH, BaseCamera, CameraError
from mutualformer.runtime.sources.folders.frames import open_frames
from mutualformer.runtime.sources.folders.item import DataError, Frames
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.pacing import Pace


@dataclass(frozen=True)
class Options:
    """``fps``: makes timestamps. ``rate``: play at this multiple of it, 0 = as fast as frames are taken.

    ``loop``: begin again at the end. Other options are DATA's own (polarity, split, …).
    """

    fps: float = 30.0
    rate: float = 0.0
    loop: bool = False


class DatasetCamera(BaseCamera):
    """Frames by number, in order; one that cannot be read is left out and said in ``warnings``."""

    def __init__(self, frames: Frames, options: Options, name: str) -> None:
        super().__init__(name, live=False)
        if not (0 < options.fps < math.inf and 0 <= options.rate < math.inf):
            raise CameraError(f"{name}: expected fps > 0 and rate ≥ 0")
        self._frames, self._options = frames, options
        self._pace, self._next, self._usable = Pace(options.rate, self), 0, 0
        if not getattr(frames, "has_depth", True):
            self.warn(f"{name}: {WITHOUT_DEPTH}", key="no depth")

    def _more(self) -> bool:
        """Whether a frame is left; a loop ends where not one of them could be used."""
        return self._next < len(self._frames) or (self._options.loop and self._usable > 0)

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; the time of frame i is i / fps. Frames that cannot be read are left out."""
        while self._more():
            stamp = self._next / self._options.fps
            self._pace.wait(stamp, timeout)
            index, self._next = self._next, self._next + 1
            began = time.perf_counter()
            try:
                item = self._frames[index % len(self._frames)]
            except DataError as error:
                self.leave_out(str(error))
                continue
            if not item.metric:
                self.warn(f"{self.name}: depth of 8 bits has no unit: near and far are right, distances are not")
            self.busy_s = time.perf_counter() - began
            self._usable += 1
            return Frame(item.rgb, item.depth, stamp, stamp, index)
        self.sum_up()
        return None


def open_source(target: str, query: Mapping[str, Any]) -> DatasetCamera:
    """``target``: DATA without its options, which are among ``query``. Raises CameraError."""
    ours = {field.name for field in fields(Options)}
    options = opts.parse(Options, {key: value for key, value in query.items() if key in ours}, target)
    rest = {key: value for key, value in query.items() if key not in ours}
    rest_text = "&".join(f"{key}={value}" for key, value in rest.items())
    try:
        frames = open_frames(f"{target}?{rest_text}" if rest_text else target)
    except DataError as error:
        raise CameraError(str(error)) from error
    return DatasetCamera(frames, options, target if ":" in target else Path(target).name or target)
