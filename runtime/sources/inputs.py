"""SOURCE on the command line → frames: random access where files allow it, one after another where they do not.

=====================================  =========================================================================
a picture, a folder (tree) of them     photographs without depth; ``--depth`` gives their maps
a data set's folder, ``sample:…``,     RGB-D frames, read exactly as ``evaluate`` reads them (docs: DATA)
``rgbd:ROOT/NAME``, ``synthetic:N``
a picture followed by its depth map    a pair: said aloud, never guessed from names
anything else                          an address that ``mutualformer stream`` takes: video, webcam, camera, recording
=====================================  =========================================================================
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.address import split
from mutualformer.runtime.sources.base import Camera, CameraError, CameraTimeout
from mutualformer.runtime.sources.depth import DEFAULT_RULE, DepthRule
from mutualformer.runtime.sources.folders.frames import is_data, open_frames
from mutualformer.runtime.sources.folders.item import DataError, Frames, Item
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, ImageError, decode, list_images, read_bytes
from mutualformer.runtime.sources.walk import Picture, Pictures


class SourceError(ValueError):
    """A SOURCE on the command line cannot be used: one sentence."""


@dataclass(frozen=True)
class SourceFrames:
    """Frames of one SOURCE. ``prefix``: put before their names where several sources would collide."""

    frames: Frames
    prefix: str = ""
    has_depth: bool = True


class Album:
    """The frames of several sources, numbered through; picklable, so that other machines can open it."""

    def __init__(self, parts: Sequence[SourceFrames]) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(len(part.frames) for part in self.parts))
        self._most: int | None = None

    def __len__(self) -> int:
        whole = self._ends[-1] if self._ends else 0
        return whole if self._most is None else min(whole, self._most)

    def first(self, count: int) -> Album:
        """The same album, cut after ``count`` frames."""
        album = Album(self.parts)
        album._most = count
        return album

    def _locate(self, index: int) -> tuple[SourceFrames, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect.bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number - 1] if number else 0)

    def read(self, index: int) -> tuple[Item, bool]:
        """Frame ``index`` and whether it has depth. Raises DataError for one that cannot be read."""
        part, inner = self._locate(index)
        item = part.frames[inner]
        return (item._replace(name=f"{part.prefix}{item.name}") if part.prefix else item), part.has_depth

    def name(self, index: int) -> str:
        """What frame ``index`` is called in messages and, where it is known without reading, in files."""
        part, inner = self._locate(index)
        namer = getattr(part.frames, "name", None)
        return f"{part.prefix}{namer(inner) if callable(namer) else f'frame-{inner:06d}'}"

    def stamp(self, index: int) -> str:
        """Changes when the files of frame ``index`` do: name, sizes and times of last change."""
        part, inner = self._locate(index)
        lister: Any = getattr(part.frames, "files", None)
        marks = [self.name(index)]
        for path in lister(inner) if callable(lister) else ():
            try:
                state = Path(path).stat()
                marks.append(f"{path}:{state.st_size}:{state.st_mtime_ns}")
            except OSError:
                marks.append(f"{path}:missing")
        return "|".join(marks)


def is_address(text: str) -> bool:
    """Whether SOURCE comes frame after frame: a camera, a webcam, a video, a recording."""
    if is_data(text):
        return False
    try:
        scheme, _, _ = split(text, opening.SOURCES)
    except CameraError:
        return False  # opening it as files says what is wrong
    return scheme in opening.SOURCES and (scheme != "dataset" or text.startswith("dataset:"))


def album(sources: Sequence[str], depth: str | None = None, rule: DepthRule = DEFAULT_RULE) -> Album:
    """All of ``sources`` that are files, as one numbered album. ``depth``: the map, or folder of maps, of the one
    SOURCE there is. Raises SourceError and DataError."""
    if depth is not None:
        if len(sources) != 1:
            raise SourceError(f"--depth belongs to one SOURCE, {len(sources)} are given")
        return Album([SourceFrames(paired(Path(sources[0]), Path(depth), rule))])
    parts: list[SourceFrames] = []
    singles: list[Picture] = []
    for source in sources:
        path = Path(source)
        if path.is_file():
            singles.append(Picture(path.stem, path))
        else:
            parts.append(_frames(source))
    if len(sources) > 1:
        parts = [SourceFrames(part.frames, _prefix(number, part), part.has_depth) for number, part in enumerate(parts)]
    if singles:
        parts.insert(0, _singles(singles, rule))
    return Album(parts)


def _prefix(number: int, part: SourceFrames) -> str:
    """What keeps the names of one of several sources apart: a folder of its own, or a number for a single frame."""
    if len(part.frames) == 1:
        return f"{number:02d}-"
    root = getattr(part.frames, "root", None)
    return f"{number:02d}-{Path(root).name}/" if root is not None else f"{number:02d}/"


def _frames(source: str) -> SourceFrames:
    """A folder or DATA as frames."""
    try:
        frames = open_frames(source)
    except DataError as error:
        if Path(source).exists() or is_data(source):
            raise
        raise SourceError(
            f"{source}: no such file or folder, and no source that is known; `mutualformer help predict` lists them"
        ) from error
    return SourceFrames(frames, has_depth=bool(getattr(frames, "has_depth", True)))


def is_depth_map(path: Path) -> bool:
    """Whether a file cannot be a photograph: one channel of 16 bits or of floats. Reads no more than it must."""
    suffix = path.suffix.lower()
    if suffix in (".npy", ".exr"):
        return True
    if suffix == ".png":
        with path.open("rb") as stream:
            start = stream.read(26)
        return start[12:16] == b"IHDR" and start[24:26] == bytes((16, 0))  # bits a channel, colour type grey
    if suffix in (".tif", ".tiff", ".pgm"):
        try:
            stored = decode(read_bytes(path), str(path), "stored")
        except ImageError:
            return False  # damaged: reading it later says so
        return stored.ndim == 2 and stored.dtype != np.uint8
    return False


def _singles(pictures: Sequence[Picture], rule: DepthRule) -> SourceFrames:
    """Single files: photographs, or a photograph followed by its depth map."""
    if len(pictures) == 2 and is_depth_map(pictures[1].colour) and not is_depth_map(pictures[0].colour):
        first, second = pictures
        _say(f"{second.colour.name} is a depth map (one channel of 16 bits or floats): taken as that of {first.colour}")
        pair = Pictures([Picture(first.name, first.colour, second.colour)], rule)
        return SourceFrames(_judged(pair, second.colour))
    for picture in pictures:
        if is_depth_map(picture.colour):
            raise SourceError(
                f"{picture.colour}: is a depth map (one channel of 16 bits or floats), not a photograph; "
                "give it with --depth to the picture that it belongs to"
            )
    names = [picture.name for picture in pictures]
    unique = [
        picture
        if names.count(picture.name) == 1
        else Picture(f"{picture.name}-{number + 1}", picture.colour, picture.depth)
        for number, picture in enumerate(pictures)
    ]
    return SourceFrames(Pictures(unique, rule), has_depth=False)


def paired(colour: Path, depth: Path, rule: DepthRule) -> Pictures:
    """Two files, or two folders whose files have equal names. Raises SourceError."""
    if colour.is_file() and depth.is_file():
        return _judged(Pictures([Picture(colour.stem, colour, depth)], rule), depth)
    if not (colour.is_dir() and depth.is_dir()):
        missing = next((path for path in (colour, depth) if not path.exists()), None)
        if missing is not None:
            raise SourceError(f"{missing}: no such file or folder")
        raise SourceError(f"{colour} and {depth}: expected two files or two folders")
    first, second = list_images(colour), list_images(depth, suffixes=(*COLOUR_SUFFIXES, ".npy", ".exr"))
    common = [name for name in first.files if name in second.files]
    if not common:
        raise SourceError(f"{colour} and {depth}: no file name occurs in both folders")
    single = len(first.files) + len(second.files) - 2 * len(common)
    if single:
        _say(f"{single} images of {colour} and {depth} have no partner of the same name, left out")
    return _judged(Pictures([Picture(name, first.files[name], second.files[name]) for name in common], rule), depth)


def _judged(pictures: Pictures, depth: Path) -> Pictures:
    """Say what does not fit the way in which the depth maps are read."""
    for sentence in pictures.judge():
        _say(f"{depth}: {sentence}")
    if pictures.assumption:
        logging.getLogger("mutualformer").info("%s: %s (--depth-scale if not so)", depth, pictures.assumption)
    return pictures


@dataclass(frozen=True)
class Moment:
    """A frame of a camera or a video as a data set's frame. ``nir``: for ReID."""

    item: Item
    has_depth: bool
    nir: Any = None


def moments(address: str, limit: int | None, patience_s: float = 20.0) -> Iterator[Moment]:
    """The frames of a camera, video or recording, in order; ``limit``: so many at the most.

    A live camera's late frame is waited for ``patience_s`` seconds. Raises CameraError.
    """
    camera: Camera = opening.open(address)
    with closing(camera):
        warned, waited, count = 0, 0.0, 0
        while limit is None or count < limit:
            try:
                frame = camera.read(1.0)
            except CameraTimeout:
                waited += 1.0
                if waited >= patience_s:
                    raise CameraError(f"{camera.name}: no frame for {patience_s:g} s") from None
                continue
            for sentence in camera.warnings[warned:]:
                _say(sentence)
            warned = len(camera.warnings)
            if frame is None:
                return
            waited = 0.0
            name = f"{label(address)}-{count:06d}"
            has_depth = bool(np.any(frame.depth))
            yield Moment(Item(frame.rgb, frame.depth, None, name), has_depth, frame.nir)
            count += 1


def label(address: str) -> str:
    """An address as a file name: ``holiday.mp4`` → holiday, ``0`` → webcam-0, ``realsense://`` → realsense."""
    if address.isdecimal():
        return f"webcam-{address}"
    head, _, rest = address.partition(":")
    path = Path((rest if head in opening.SOURCES else address).partition("?")[0].partition(",")[0])
    return path.stem or head


def _say(sentence: str) -> None:
    logging.getLogger("mutualformer").warning("%s", sentence)


__all__ = ["Album", "DataError", "Moment", "SourceError", "SourceFrames", "album", "is_address", "moments", "paired"]
