"""Video files: ``film.mp4``, one file with a colour and a depth track, or ``video:COLOUR_FILE,DEPTH_FILE``.

Depth is grey: 16 bits a pixel (FFV1 keeps them exactly) are units, millimetres unless ``depth_scale`` says otherwise;
8 bits carry no unit and are refused unless ``relative=1`` says that near and far are all that matters. The time of a
frame is the file's own, and colour and depth are paired by it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import WITHOUT_DEPTH, CameraError
from mutualformer.runtime.sources.depth import MILLIMETRES, DepthOptions, aligned, to_metres
from mutualformer.runtime.sources.frame import DataError, Frame
from mutualformer.runtime.sources.pacing import PlayedCamera
from mutualformer.runtime.sources.pairing import Pairer, Stamped, paired
from mutualformer.runtime.sources.video import tracks

MOST_FPS = 1000


@dataclass(frozen=True)
class Options(DepthOptions):
    """``relative``: take 8-bit depth as near and far without unit. ``track``, ``depth_track``: their numbers, -1
    = as they are. ``max_skew``: seconds between paired colour and depth. ``fps``: 0 = the file's own times. ``rate``:
    play at this multiple of its speed, 0 = as fast as frames are taken. ``loop``: begin again at the end."""

    relative: bool = False
    track: int = -1
    depth_track: int = -1
    max_skew: float = 0.03
    fps: float = 0.0
    rate: float = 0.0
    loop: bool = False


class VideoCamera(PlayedCamera):
    """In order and lossless, like every recording."""

    def __init__(self, path: Path, depth_path: Path | None, options: Options) -> None:
        name = f"video:{path}" + (f",{depth_path}" if depth_path is not None else "")
        if not (0 <= options.fps <= MOST_FPS and 0 <= options.rate < math.inf):
            raise CameraError(f"{name}: expected fps and rate of 0 or more")
        found = tracks.tracks(path)
        self._path, self._depth_path = path, depth_path or path
        colour, note = tracks.choose(path, found, False, options.track)
        assert colour is not None  # choose has raised CameraError
        self._colour = colour
        if depth_path is None:
            others = [track for track in found if track != self._colour]
            self._depth, _ = tracks.choose(path, others, True, options.depth_track)
        else:
            others = tracks.tracks(depth_path)
            only = len(others) == 1 and options.depth_track < 0
            self._depth = others[0] if only else tracks.choose(depth_path, others, True, options.depth_track)[0]
            if self._depth is None:
                raise CameraError(f"{depth_path}: has no depth track; name one with ?depth_track=NUMBER")
        super().__init__(
            name, live=False, depth_scale=None if self._depth is None else options.depth_scale or MILLIMETRES
        )
        self._rule = options.rule
        if self._depth is None:
            self.warn(f"{name}: {WITHOUT_DEPTH}")
        elif depth_path is None:
            what = f"the depth of track {self._depth} is taken as aligned to the colour of {self._colour}"
            self.warn(f"{name}: {what}")
        if note:
            self.warn(note)
        if self._colour.alpha:
            self.warn(f"{path}: its transparency is left out")
        self._options = options
        # Times that ``fps`` makes up count frames from the first one on.
        self.play(self._all, options.rate, not options.fps and bool(self._colour.seconds))

    def _all(self, position: float) -> Generator[Frame, None, None]:
        start, seconds = self._colour.start, self._colour.seconds
        offset, number = 0.0, 0
        since = start + position * seconds if position else -math.inf
        while True:
            first = last = step = None
            for (stamp, rgb), (depth_stamp, depth) in self._pairs(since):
                first, step, last = stamp if first is None else first, stamp - last if last is not None else step, stamp
                place = min(1.0, (stamp - start) / seconds) if self.seekable else None
                metres = self._metres(depth, rgb.shape[:2])
                yield Frame(rgb, metres, stamp + offset, depth_stamp + offset, number, None, place)
                number += 1
            since = -math.inf
            if not number:
                self.warn(f"{self.name}: holds no frame that can be decoded")
            if last is None or first is None or not self._options.loop:
                break
            offset += last - first + (step or 1 / tracks.USUAL_FPS)
        self.sum_up()

    def _pairs(self, since: float) -> Iterator[tuple[Stamped[Any], Stamped[Any]]]:
        """(time, colour) and (time, depth as stored or None) of every frame, from ``since`` to the end of the file."""
        fps = self._options.fps
        picture = tracks.upright if self._depth is None else self._as_stored
        colours = tracks.frames(self._path, self._colour, fps, picture, self.leave_out, since)
        if self._depth is None:
            yield from (((stamp, rgb), (stamp, None)) for stamp, rgb in colours)
            return
        skew = self._options.max_skew
        depths = tracks.frames(self._depth_path, self._depth, fps, tracks.grey, self.leave_out, since - skew)
        pairer: Pairer[Stamped[Any]] = Pairer(skew)
        yield from paired(pairer, colours, depths)
        self.sum_up(pairer.unpaired)

    def _as_stored(self, frame: Any) -> NDArray[np.uint8]:
        if frame.rotation:
            turn = f"asks to be turned by {frame.rotation % 360:g}°"
            self.warn(f"{self._path}: {turn}; both are read as stored", key="turn")
        return tracks.colour(frame)

    def _metres(self, stored: NDArray[Any] | None, size: tuple[int, int]) -> NDArray[np.float32]:
        if stored is None:
            return np.zeros(size, np.float32)
        try:
            stored, note = aligned(stored, size)
        except DataError as error:
            raise CameraError(f"{self.name}: {error}") from error
        if note:
            self.warn(f"{self.name}: {note}")
        if stored.dtype == np.uint16:
            return to_metres(stored, self._rule)
        if not self._options.relative:
            raise CameraError(
                f"{self.name}: depth of 8 bits has no unit, expected 16 bits a pixel; append ?relative=1 where near "
                "(bright) and far is all that is wanted"
            )
        self.warn(f"{self.name}: depth of 8 bits has no unit: near and far are right, distances are not")
        return to_metres(stored)


def open_source(target: str, query: Mapping[str, Any]) -> VideoCamera:
    """``target``: the colour video, or colour and depth separated by a comma."""
    first, comma, second = target.rpartition(",")
    options = opts.parse(Options, query, f"video:{target}")
    if not comma or Path(target).is_file():
        return VideoCamera(Path(target), None, options)
    return VideoCamera(Path(first), Path(second), options)
