"""Replay what ``--record`` wrote, one MCAP file or a folder of parts, frame by frame and bit for bit.

A file that was cut short (power loss, kill -9, full disk) plays up to its last whole chunk; a complete file plays
before and after a corrupt chunk; both warn. Files that another tool rewrote play too: the unit of depth is read from
any valid copy of the description, and never guessed. Files of other programs may be compressed: a child process with
limited memory reads them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from mcap.reader import SeekingReader
from numpy.typing import NDArray

from mutualformer.runtime.recording import topics
from mutualformer.runtime.recording.info import NAME, InfoError, RecordingInfo
from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags import rosbag
from mutualformer.runtime.sources.bags.containers import BagError, McapBag, Span
from mutualformer.runtime.sources.bags.open_bag import bag_files, suffix
from mutualformer.runtime.sources.bags.ros_messages import MessageReader, read_text
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.depth import DepthRule, to_metres
from mutualformer.runtime.sources.frame import DataError, Frame, metres
from mutualformer.runtime.sources.pacing import PlayedCamera
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

MOST_HEADER = 1 << 16  # bytes of a file's header record: two short names
LONGEST_STAMP = 1e15  # seconds; up to here float64 keeps at least an eighth of a second


@dataclass(frozen=True)
class Options:
    """``rate``: play at this multiple of the recorded speed; 0 = as fast as possible.

    ``depth_scale``: metres per unit of depth, for a recording whose description is lost; 0 = use the description.
    """

    rate: float = 0.0
    depth_scale: float = 0.0

    def __post_init__(self) -> None:
        DepthRule(self.depth_scale or None)  # refuses a scale that cannot be


@dataclass(frozen=True)
class Part:
    """One file as its metadata and its first frame describe it. ``info``: None where the description is lost.
    ``first``: number of its first frame within the whole recording. ``span``: times of recording of its first and last
    message, ns; None where it was not closed."""

    path: Path
    info: RecordingInfo | None
    topics: frozenset[str]
    first: int
    span: Span | None

    @property
    def recording(self) -> str:
        """One id for all parts of a recording, "" where it is lost."""
        return self.info.recording if self.info is not None else ""


def look_into(path: Path, unpack: bool) -> Part:
    """Examine one file. ``unpack``: as of McapBag. Raises CameraError for no MCAP file."""
    try:
        bag = McapBag(path, unpack)
    except (BagError, OSError) as error:
        raise CameraError(f"{path}: not a readable MCAP file ({error}); `mcap recover` may help") from error
    with contextlib.closing(bag):
        described = [values for name, values in bag.metadata if name == NAME]
        if not bag.topics and not described:
            why = bag.problems[0] if bag.problems else "nothing whole is in it"
            raise CameraError(f"{path}: not a readable MCAP file ({why}); `mcap recover` may help")
        # Each part carries the description twice: as metadata at its end, which a cut file lacks, and inside its first
        # frame, which a tool may have filtered away. Any valid copy will do, the frame's before the metadata.
        info = None
        for values in described:
            with contextlib.suppress(InfoError):
                info = RecordingInfo.from_metadata(values, f"{path}, metadata")
        first = next(bag.messages({topics.FRAME}), None)
        if first is not None:
            with contextlib.suppress(ValueError):
                info = frame_info(frame_fields(first.data)) or info
        number = first.sequence if first is not None else 0
        return Part(path, info, frozenset(bag.topics), number, bag.span)


class RecordingCamera(PlayedCamera):
    """The frames of all parts in order."""

    def __init__(self, parts: list[Part], options: Options, name: str, unpack: bool) -> None:
        infos = [part.info for part in parts if part.info is not None]
        first = infos[0] if infos else None
        self._option_scale, self._unpack = options.depth_scale, unpack
        super().__init__(
            name,
            live=False,
            intrinsics=first.intrinsics if first is not None else None,
            depth_scale=self._option_scale or (first.depth_scale if first is not None else None),
        )
        # Parts of one recording stay together, in the order of their first frames; recordings keep the order of their
        # files. File names say nothing reliable: they are renamed, and "part 10" sorts before "part 2".
        place: dict[str, int] = {}
        for index, part in enumerate(parts):
            place.setdefault(part.recording or str(part.path), index)
        ordered = sorted(parts, key=lambda part: (place[part.recording or str(part.path)], part.first))
        if len({info.recording or info.source for info in infos}) > 1:
            self.warn(f"{name}: the parts are of {len(set(infos))} recordings; each is read as it was recorded")
        self._span = Span.whole([part.span for part in ordered])
        self.play(partial(self._all, ordered), options.rate, self._span is not None)

    def _all(self, parts: list[Part], position: float) -> Generator[Frame, None, None]:
        since = self._span.at(position) if self._span is not None and position else 0
        for part in parts:
            if part.span is None or part.span.last >= since:
                yield from self._part(part, since)
        self.sum_up()

    def _part(self, part: Part, since: int) -> Generator[Frame, None, None]:
        def pass_on() -> None:
            for sentence in bag.problems:  # grows while messages are read; the key prevents repetition
                self.warn(f"{part.path}: corrupt after {count} frames: {sentence}", key=f"{part.path} {sentence}")

        count = 0
        with contextlib.closing(McapBag(part.path, self._unpack)) as bag:
            # All messages of a frame share one log time, which tools that sort, filter or merge messages keep.
            for now, messages in groupby(bag.messages(since=since), key=lambda message: message.log_time):
                group = {message.topic: message.data for message in messages}
                pass_on()
                frame = self._frame(group, part) if topics.FRAME in group else None
                if frame is not None:
                    count += 1
                    yield replace(frame, position=self._span.position(now) if self._span is not None else None)
            pass_on()
            if not bag.closed:
                self.warn(f"{part.path}: cut short, it was not closed; {count} whole frames read")

    def _frame(self, group: dict[str, bytes], part: Part) -> Frame | None:
        try:
            facts = frame_fields(group[topics.FRAME])
            rgb, raw = stored(group, topics.COLOUR, "rgb8"), stored(group, topics.DEPTH, "16UC1", "32FC1")
            if rgb is None or raw is None:
                raise DataError("colour or depth of a frame is missing")
            if rgb.shape[:2] != raw.shape:
                raise DataError(f"colour is {rgb.shape[:2]} and depth {raw.shape}, expected one size")
            nir = stored(group, topics.NIR, "rgb8")
            stamps = [facts.number(key, -LONGEST_STAMP, LONGEST_STAMP) for key in ("timestamp", "depth_timestamp")]
            sequence = facts.whole("sequence", -(1 << 62), 1 << 62)
            depth = self._metres(raw, facts, part)
        except ValueError as error:  # one frame that cannot be used does not end the recording
            self.leave_out(f"{part.path.name}: {error}")
            return None
        return Frame(rgb, depth, stamps[0], stamps[1], sequence, nir)

    def _metres(self, raw: NDArray[Any], facts: Fields, part: Part) -> NDArray[np.float32]:
        """Metres by the unit in the address, else the frame's, else the part's. Raises CameraError without any."""
        if raw.dtype == np.float32:
            return to_metres(raw)
        # A unit that the user gives wins: it repairs a recording whose description is wrong.
        info = frame_info(facts) or part.info
        scale = self._option_scale or (info.depth_scale if info is not None else None)
        if scale is None:
            raise CameraError(
                f"{part.path}: its description is lost, and with it the unit of its depth; add "
                "?depth_scale=METRES_PER_UNIT, for example 0.001 where the camera counts in millimetres"
            )
        self.depth_scale = scale
        return metres(raw, scale)


def stored(group: Mapping[str, bytes], topic: str, *encodings: str) -> NDArray[Any] | None:
    """Pixels of a recorded image, also of a compressed one; None where there is none. Raises ValueError."""
    packed = [group[one] for one in (topic + topics.COMPRESSED, topic + topics.COMPRESSED_DEPTH) if one in group]
    if packed:
        image = pix.pixels(MessageReader(packed[0]).compressed())
        if (image.ndim == 3) != ("rgb8" in encodings):
            raise DataError(f"a compressed image of {image.dtype} {image.shape}, expected {' or '.join(encodings)}")
        return image
    if topic not in group:
        return None
    message = MessageReader(group[topic]).image()
    if message.encoding not in encodings:
        raise DataError(f"an image of {message.encoding[:40]!r}, expected {' or '.join(encodings)}")
    return pix.unpack(message)


def frame_fields(data: bytes) -> Fields:
    """The JSON of a frame message. Raises ValueError."""
    return Fields(parse_json(read_text(data), "frame", DataError), "frame", DataError)


def frame_info(facts: Fields) -> RecordingInfo | None:
    """The recording's description in a frame's JSON; None in recordings of earlier versions. Raises InfoError."""
    about = facts.get("about")
    return RecordingInfo.from_metadata(Fields(about, "frame, about", InfoError).data, "frame") if about else None


def open_source(target: str, query: Mapping[str, Any]) -> BaseCamera:
    """``target``: an MCAP file or a folder of them. A child process opens what this program did not write."""
    own = _open(target, query, unpack=False) if all(map(_ours, _files(target))) else None
    return own or ChildCamera(".recording.replay:open_packed", target, query, f"recording:{target}")


def _files(target: str) -> list[Path]:
    path = Path(target)
    files = [file for file in bag_files(path) if suffix(file) == ".mcap"] if path.is_dir() else [path]
    if not files or not os.path.isfile(files[0]):
        raise CameraError(f"recording:{target}: no .mcap file there")
    return files


def _ours(file: Path) -> bool:
    """Whether the file says that this program wrote it."""
    with contextlib.suppress(Exception), file.open("rb") as stream:  # the package raises errors of all kinds
        return bool(SeekingReader(stream, record_size_limit=MOST_HEADER).get_header().library == topics.LIBRARY)
    return False


def open_packed(target: str, query: Mapping[str, Any]) -> BaseCamera:
    """As :func:`open_source`, in a process with limits; files without our frame messages are played as a ROS bag."""
    return _open(target, query, unpack=True) or rosbag.open_source(target, query)


def _open(target: str, query: Mapping[str, Any], unpack: bool) -> RecordingCamera | None:
    """None where no file holds our frame messages."""
    name = f"recording:{target}"
    parts, unreadable = [], []
    for file in _files(target):
        try:
            parts.append(look_into(file, unpack))
        except CameraError as error:
            unreadable.append(error)  # the other parts still play; warned of below
    if not parts:
        raise unreadable[0]
    playable = [part for part in parts if topics.FRAME in part.topics]
    if not playable:
        return None
    camera = RecordingCamera(playable, opts.parse(Options, query, name), name, unpack)
    left = [part.path.name for part in parts if part not in playable]
    if left:
        camera.warn(f"{name}: {', '.join(left)} is no recording with frames, left out")
    for problem in unreadable:
        camera.warn(f"left out: {problem}")
    return camera
