"""The files of a recording: which they are, what each says about itself, and what a frame says about its recording."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.recording import topics
from mutualformer.runtime.recording.info import NAME, InfoError, RecordingInfo
from mutualformer.runtime.recording.ros_messages import read_text
from mutualformer.runtime.sources.bags.byte_reader import BytesError
from mutualformer.runtime.sources.bags.mcap_reader import McapFileError, McapReader
from mutualformer.runtime.sources.bags.open_bag import bag_files, suffix
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json


class FrameError(ValueError):
    """A frame of the recording cannot be used: one clause."""


@dataclass(frozen=True)
class Part:
    """One file. ``info``: what it says about itself, None where lost. ``topics``: all of it.

    ``first``: the number of its first frame, counted through all parts of a recording.
    """

    path: Path
    info: RecordingInfo | None
    ours: bool
    topics: list[str]
    problem: str = ""
    damage: str = ""
    first: int = 0

    @property
    def recording(self) -> str:
        """One id for all parts of a recording, "" where it is lost."""
        return self.info.recording if self.info is not None else ""

    @property
    def has_frames(self) -> bool:
        """Whether it holds frames as ``--record`` writes them."""
        return topics.FRAME in self.topics


def look_into(path: Path) -> Part:
    """What a file is, by its metadata, its topics and its first frame. Raises CameraError where it is no MCAP file."""
    try:
        reader = McapReader(path)
    except (McapFileError, OSError) as error:
        raise CameraError(f"{path}: not a readable MCAP file ({error}); `mcap recover` may help") from error
    try:
        described = [values for name, values in reader.metadata if name == NAME]
        infos, problem = [], ""
        for values in described:
            try:
                infos.append(RecordingInfo.from_metadata(values, f"{path}, metadata"))
            except InfoError as error:
                problem = str(error)
        first = next(reader.messages({topics.FRAME}), None)
        if first is not None:
            with contextlib.suppress(FrameError, InfoError, BytesError):
                infos = [info for info in [frame_info(frame_fields(first.data))] if info is not None] or infos
        names, damage = reader.topics(), reader.damage[0] if reader.damage else ""
        if not reader.channels and not described:
            why = reader.damage[0] if reader.damage else "nothing whole is in it"
            raise CameraError(f"{path}: not a readable MCAP file ({why}); `mcap recover` may help")
    finally:
        reader.close()
    if len({info.depth_scale for info in infos}) > 1:
        infos, problem = [], "it holds descriptions of several recordings with different units of depth"
    number = first.sequence if first is not None else 0
    ours = bool(described) or topics.FRAME in names
    return Part(path, infos[0] if infos else None, ours, names, problem, damage, number)


def in_recorded_order(parts: list[Part]) -> list[Part]:
    """Parts of one recording by the number of their first frame, whatever they are named; recordings as they came."""
    place: dict[str, int] = {}
    for index, part in enumerate(parts):
        place.setdefault(part.recording or str(part.path), index)
    return sorted(parts, key=lambda part: (place[part.recording or str(part.path)], part.first))


def frame_fields(data: memoryview) -> Fields:
    """The JSON of a frame message. Raises FrameError."""
    try:
        text = read_text(data)
    except BytesError as error:
        raise FrameError(str(error)) from error
    return Fields(parse_json(text, "frame", FrameError), "frame", FrameError)


def frame_info(facts: Fields) -> RecordingInfo | None:
    """What a frame's JSON says about its recording; None in recordings of earlier versions. Raises InfoError."""
    about = facts.get("about")
    return RecordingInfo.from_metadata(Fields(about, "frame, about", InfoError).data, "frame") if about else None


def mcap_files(path: Path) -> list[Path]:
    """The parts of a recording as people count; one file is its own only part."""
    return [file for file in bag_files(path) if suffix(file) == ".mcap"] if path.is_dir() else [path]
