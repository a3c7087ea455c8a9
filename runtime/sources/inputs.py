"""SOURCE on the command line of ``predict`` → frames: by number where it is files, else one after another."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import NEXT_FRAME_SECONDS, next_frame
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.folders.pairs import pairs
from mutualformer.runtime.sources.frame import DataError, Frames, Item, Joined, files_of, name_of
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.walk import is_depth_map

log = logging.getLogger("mutualformer")


class SourceError(DataError):
    """A SOURCE on the command line cannot be used: one sentence."""


class Album:
    """The frames of several sources, numbered through; picklable, so that other machines can open it."""

    def __init__(self, frames: Frames, most: int | None = None) -> None:
        self.frames, self._most = frames, most

    def __len__(self) -> int:
        return len(self.frames) if self._most is None else min(len(self.frames), self._most)

    def first(self, count: int) -> Album:
        """The same album, cut after ``count`` frames."""
        return Album(self.frames, count)

    def read(self, index: int) -> tuple[Item, bool]:
        """Frame ``index`` and whether it has depth. Raises DataError for one that cannot be read."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        item = self.frames[index]
        return item, bool(item.depth.any())

    def name(self, index: int) -> str:
        """The name of frame ``index`` in messages and, where it is known without reading, in files."""
        return name_of(self.frames, index)

    def stamp(self, index: int) -> str:
        """Changes when the files of frame ``index`` do: name, sizes and times of last change."""
        marks = [self.name(index)]
        for path in files_of(self.frames, index):
            try:
                state = path.stat()
                marks.append(f"{path}:{state.st_size}:{state.st_mtime_ns}")
            except OSError:
                marks.append(f"{path}:missing")
        return "|".join(marks)


def is_address(text: str) -> bool:
    """Whether SOURCE comes frame after frame: a camera, a webcam, a video, a recording."""
    try:
        return opening.resolved(text).played
    except DataError:
        return False  # opening it as files raises with the reason


def album(sources: Sequence[str], depth: str | None = None, options: ReadOptions | None = None) -> Album:
    """All of ``sources`` that are files, as one numbered album. ``depth``: the map, or folder of maps, of the one
    SOURCE there is. Raises SourceError and DataError."""
    options = options or ReadOptions()
    if depth is not None:
        if len(sources) != 1:
            raise SourceError(f"--depth belongs to one SOURCE, {len(sources)} are given")
        return Album(pairs(Path(sources[0]), Path(depth), options))
    paths = [Path(source) for source in sources]
    if len(paths) == 2 and all(map(os.path.isfile, paths)) and [is_depth_map(path) for path in paths] == [False, True]:
        first, second = paths
        log.warning("%s is a depth map (one channel of 16 bits or floats): taken as that of %s", second.name, first)
        return Album(pairs(first, second, options))
    opened = [opening.frames(source) for source in sources]
    if len(opened) == 1:
        return Album(opened[0])
    return Album(Joined([(_prefix(number, frames, sources), frames) for number, frames in enumerate(opened)]))


def _prefix(number: int, frames: Frames, sources: Sequence[str]) -> str:
    """What keeps the names of one of several sources apart: a folder of its own, or a number for a single frame."""
    stems = [Path(source).stem for source in sources]
    if len(frames) == 1:
        return f"{number:02d}-" if stems.count(stems[number]) > 1 or not Path(sources[number]).is_file() else ""
    root = getattr(frames, "root", None)
    return f"{number:02d}-{Path(root).name}/" if root is not None else f"{number:02d}/"


@dataclass(frozen=True)
class Moment:
    """A frame of a camera or a video as a data set's frame. ``nir``: for ReID."""

    item: Item
    has_depth: bool
    nir: Any = None


def moments(address: str, limit: int | None, timeout_s: float = NEXT_FRAME_SECONDS) -> Iterator[Moment]:
    """The frames of a camera, video or recording, in order; at most ``limit`` of them.

    ``timeout_s``: for the next frame. Raises CameraError.
    """
    camera = opening.camera(address)
    with closing(camera):
        warned, count = 0, 0
        while limit is None or count < limit:
            frame = next_frame(camera, timeout_s)
            for sentence in camera.warnings[warned:]:
                log.warning("%s", sentence)
            warned = len(camera.warnings)
            if frame is None:
                return
            item = Item(frame.rgb, frame.depth, None, f"{label(address)}-{count:06d}")
            yield Moment(item, bool(np.any(frame.depth)), frame.nir)
            count += 1


def label(address: str) -> str:
    """An address as a file name: ``holiday.mp4`` → holiday, ``0`` → webcam-0, ``realsense://`` → realsense."""
    return parse(address).short
