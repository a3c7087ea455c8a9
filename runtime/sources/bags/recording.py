"""Replays what ``--record`` wrote: one MCAP file or a folder of parts, frame by frame, bit for bit.

A file cut short (power loss, kill -9, full disk) plays up to its last whole chunk, a damaged one before and behind the
damage, and both say so in ``warnings``. Files that another tool had in its hands play too: the unit of depth is looked
for in every place that has it, and never guessed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.recording import topics
from mutualformer.runtime.recording.info import InfoError
from mutualformer.runtime.recording.ros_messages import MessageReader
from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags.byte_reader import BytesError
from mutualformer.runtime.sources.bags.mcap_reader import McapFileError, McapReader
from mutualformer.runtime.sources.bags.parts import (
    FrameError,
    Part,
    frame_fields,
    frame_info,
    in_recorded_order,
    look_into,
    mcap_files,
)
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.frame import Frame, metres
from mutualformer.runtime.sources.playing import Pace
from mutualformer.runtime.untrusted.typed_json import Fields

# Messages of frames that are not whole yet; a file sorted by topic keeps many of them open.
MOST_WAITING_BYTES = 512 << 20
LONGEST_STAMP = 1e15


@dataclass(frozen=True)
class Options:
    """``rate``: play at this multiple of the recorded speed; 0 = as fast as frames are taken.

    ``depth_scale``: metres per unit of depth, for a recording that lost what it said about itself; 0 = it says.
    """

    rate: float = 0.0
    depth_scale: float = 0.0


class RecordingCamera(BaseCamera):
    """The frames of all parts in order. ``outputs``: what the model said then, per tensor, of the last frame read."""

    def __init__(self, parts: list[Part], options: Options, name: str) -> None:
        infos = [part.info for part in parts if part.info is not None]
        first = infos[0] if infos else None
        option_scale = options.depth_scale or None
        if option_scale is not None and not 0 < option_scale <= 1:
            raise CameraError(f"{name}: depth_scale is {option_scale:g}, expected metres per unit, for example 0.001")
        super().__init__(
            name,
            live=False,
            intrinsics=first.intrinsics if first is not None else None,
            depth_scale=option_scale or (first.depth_scale if first is not None else None),
        )
        self.outputs: dict[str, Any] = {}
        self.truncated = False
        self._option_scale = option_scale
        self._pace = Pace(options.rate, self)
        ordered = in_recorded_order(parts)
        if ordered != parts:
            self.warn(f"{name}: the parts are played as they were recorded, not as they are named")
        self._next: dict[str, int] = {}
        self._border = len(parts) > 1
        self._frames = self._all(ordered)
        self._pending: Frame | None = None
        for part in parts:
            if part.problem:
                self.warn(f"{part.path}: {part.problem}")
        if len({info.recording or info.source for info in infos}) > 1:
            self.warn(f"{name}: the parts are of {len(set(infos))} recordings; each is read as it was recorded")

    def _all(self, parts: list[Part]) -> Generator[Frame, None, None]:
        for part in parts:
            self._border = len(parts) > 1
            yield from self._part(part)
        self.sum_up()

    def _follow(self, part: Part, number: int) -> None:
        """Say where a part does not go on with the frame after the last one: parts get lost, and copied twice."""
        expected = self._next.get(part.recording, 0)
        if self._border and part.recording and number > expected:
            self.warn(f"{part.path}: frames {expected} … {number - 1} before it are not there; is a part missing?")
        elif self._border and part.recording and number < expected and expected > 1:
            self.warn(f"{part.path}: begins with frame {number}, which was there already; is it a copy?")
        self._border = False
        self._next[part.recording] = number + 1

    def _part(self, part: Part) -> Generator[Frame, None, None]:
        try:
            reader = McapReader(part.path)
        except (McapFileError, OSError) as error:
            self.warn(f"{part.path}: left out ({error})")
            return
        waiting: dict[int, dict[str, memoryview]] = {}
        waiting_bytes = count = 0
        with contextlib.closing(reader):
            for sentence in reader.damage:
                self.warn(f"{part.path}: {sentence}", key=f"{part.path} {sentence}")
            for message in reader.messages():
                self._pass_on(part, reader, count)
                # All messages of a frame carry one log time, which tools that sort, filter and merge keep.
                group = waiting.setdefault(message.log_time, {})
                group[message.channel.topic] = message.data
                waiting_bytes += len(message.data)
                if topics.FRAME in group and topics.COLOUR in group and topics.DEPTH in group:
                    waiting_bytes -= sum(map(len, waiting.pop(message.log_time).values()))
                    frame = self._frame(group, part)
                    if frame is not None:
                        self._follow(part, message.sequence)
                        count += 1
                        yield frame
                while waiting_bytes > MOST_WAITING_BYTES:
                    waiting_bytes -= sum(map(len, waiting.pop(next(iter(waiting))).values()))
                    self.leave_out(f"{part.path.name}: its messages lie too far apart; `mcap sort` mends that")
            self._pass_on(part, reader, count)
            for group in waiting.values():
                if topics.FRAME in group:
                    self.leave_out(f"{part.path.name}: colour or depth of a frame is missing")
            if not reader.closed:
                self.truncated = True
                self.warn(f"{part.path}: cut short, it was not closed; {count} whole frames read")

    def _pass_on(self, part: Part, reader: McapReader, count: int) -> None:
        for sentence in reader.damage:
            self.warn(f"{part.path}: damaged after {count} frames: {sentence}", key=f"{part.path} {sentence}")

    def _frame(self, group: dict[str, memoryview], part: Part) -> Frame | None:
        try:
            facts = frame_fields(group[topics.FRAME])
            rgb = stored(group[topics.COLOUR], ("rgb8",))
            raw = stored(group[topics.DEPTH], ("16UC1", "32FC1"))
            if rgb.shape[:2] != raw.shape:
                raise FrameError(f"colour is {rgb.shape[:2]} and depth {raw.shape}, expected one size")
            nir = stored(group[topics.NIR], ("rgb8",)) if topics.NIR in group else None
            outputs = {
                topic[len(topics.OUTPUT) :]: stored(data, ("32FC1",))
                for topic, data in group.items()
                if topic.startswith(topics.OUTPUT)
            }
            stamps = [facts.number(key, -LONGEST_STAMP, LONGEST_STAMP) for key in ("timestamp", "depth_timestamp")]
            sequence = facts.whole("sequence", -(1 << 62), 1 << 62)
            depth = self._metres(raw, facts, part)
        except (FrameError, InfoError, BytesError, pix.PixelError) as error:
            self.leave_out(f"{part.path.name}: {error}")
            return None
        self.outputs = outputs
        return Frame(rgb, depth, stamps[0], stamps[1], sequence, nir)

    def _metres(self, raw: NDArray[Any], facts: Fields, part: Part) -> NDArray[np.float32]:
        """By the unit given in the address, else the frame's own, else the part's. Raises CameraError without any."""
        if raw.dtype == np.float32:
            return pix.float_metres(raw)
        info = frame_info(facts) or part.info
        scale = self._option_scale or (info.depth_scale if info is not None else None)
        if scale is None:
            raise CameraError(
                f"{part.path}: what it said about itself is gone, and with it the unit of its depth; say it with "
                "?depth_scale=METRES_PER_UNIT, for example 0.001 where the camera counts in millimetres"
            )
        self.depth_scale = scale
        return metres(raw, scale)

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; after a CameraTimeout (the frame is not due yet) the same frame comes again."""
        began = time.perf_counter()
        frame = self._pending or next(self._frames, None)
        self.busy_s = time.perf_counter() - began
        self._pending = frame
        if frame is not None:
            self._pace.wait(frame.timestamp, timeout)
        self._pending = None
        return frame

    def close(self) -> None:
        """Close the part that is being read."""
        # Ends the generator, which closes its file; one that is running in another thread ends by itself.
        with contextlib.suppress(ValueError):
            self._frames.close()


def stored(data: memoryview, encodings: tuple[str, ...]) -> NDArray[Any]:
    """Pixels of a recorded Image. Raises BytesError, PixelError, FrameError."""
    message = MessageReader(data).image()
    if message.encoding not in encodings:
        raise FrameError(f"an image of {message.encoding[:40]!r}, expected {' or '.join(encodings)}")
    return pix.unpack(message)


def open_source(target: str, query: Mapping[str, Any]) -> BaseCamera:
    """``target``: an MCAP file or a folder of them. Files that are not ours go to the ROS bag source."""
    path = Path(target)
    files = mcap_files(path)
    if not files or not files[0].is_file():
        raise CameraError(f"recording:{target}: no .mcap file there")
    parts, unreadable = [], []
    for file in files:
        try:
            parts.append(look_into(file))
        except CameraError as error:
            unreadable.append(error)
    if not parts:
        raise unreadable[0]
    ours = [part for part in parts if part.ours]
    playable = [part for part in ours if part.has_frames]
    camera: BaseCamera
    if playable:
        camera = RecordingCamera(playable, opts.parse(Options, query, f"recording:{target}"), f"recording:{target}")
        left = [part.path.name for part in parts if part not in playable]
        if left:
            camera.warn(f"{camera.name}: {', '.join(left)} is no recording with frames, left out")
    else:
        camera = _as_bag(target, query, ours)
    for problem in unreadable:
        camera.warn(f"left out: {problem}")
    return camera


def _as_bag(target: str, query: Mapping[str, Any], ours: list[Part]) -> BaseCamera:
    """A foreign bag, or a recording of ours that lost its frame topic and has pictures only."""
    from mutualformer.runtime.sources.bags import rosbag

    if not ours:
        return rosbag.open_source(target, query)
    if not any({topics.COLOUR, topics.DEPTH} <= set(part.topics) for part in ours):
        why = next((part.damage for part in ours if part.damage), "was it cut short right after it began?")
        raise CameraError(f"recording:{target}: holds no whole frame; {why}")
    info = next((part.info for part in ours if part.info is not None), None)
    options = opts.parse(rosbag.Options, {"colour": topics.COLOUR, "depth": topics.DEPTH, **query}, target)
    scale = info.depth_scale if info is not None else None
    camera = rosbag.BagCamera(Path(target), options, f"recording:{target}", integer_scale=scale)
    camera.warn(f"{camera.name}: the topic {topics.FRAME} is gone, pictures are paired by their header times")
    camera.intrinsics = camera.intrinsics or (info.intrinsics if info is not None else None)
    return camera
