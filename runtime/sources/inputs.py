"""SOURCE on the command line of ``predict`` → frames: by number where it is files, else one after another."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import next_frame
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.folders.pairs import pairs
from mutualformer.runtime.sources.frame import DataError, Frames, Item, files_of, name_of
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.walk import is_depth_map

log = logging.getLogger("mutualformer")


class SourceError(DataError):
    """A SOURCE on the command line cannot be used: one sentence."""


def stamp(frames: Frames, index: int) -> str:
    """Changes when the files of frame ``index`` do: name, sizes and times of last change."""
    marks = [name_of(frames, index)]
    for path in files_of(frames, index):
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


def album(sources: Sequence[str], depth: str | None = None, options: ReadOptions | None = None) -> Frames:
    """The frames of ``sources`` that are files, numbered through; picklable, so that other machines can open them.

    ``depth``: the map, or folder of maps, of the one SOURCE there is. Raises SourceError and DataError.
    """
    options = options or ReadOptions()
    if depth is not None:
        if len(sources) != 1:
            raise SourceError(f"--depth belongs to one SOURCE, {len(sources)} are given")
        return pairs(Path(sources[0]), Path(depth), options)
    paths = [Path(source) for source in sources]
    if len(paths) == 2 and all(map(os.path.isfile, paths)) and [is_depth_map(path) for path in paths] == [False, True]:
        first, second = paths
        log.warning("%s is a depth map (one channel of 16 bits or floats): taken as that of %s", second.name, first)
        return pairs(first, second, options)
    return opening.frames(sources)


def moments(address: str, limit: int | None) -> Iterator[Item]:
    """The frames of a camera, video or recording, in order; at most ``limit`` of them. Raises CameraError."""
    camera = opening.camera(address)
    with closing(camera):
        warned, count = 0, 0
        while limit is None or count < limit:
            frame = next_frame(camera)
            for sentence in camera.warnings[warned:]:
                log.warning("%s", sentence)
            warned = len(camera.warnings)
            if frame is None:
                return
            yield Item(frame.rgb, frame.depth, None, f"{parse(address).short}-{count:06d}", nir=frame.nir)
            count += 1
