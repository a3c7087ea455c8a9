"""Replays what ``--record`` wrote: one MCAP file or a folder of parts, frame by frame, bit for bit.

A file cut short (power loss, kill -9, full disk) plays up to its last whole frame and says so in ``warnings``.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.records import Channel, Footer, Message, Metadata
from mcap.stream_reader import StreamReader

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import (
    BaseCamera,
    Camera,
    CameraError,
    CameraTimeout,
    Frame,
    Intrinsics,
    metres,
)
from mutualformer.runtime.recording import ros_messages as ros


@dataclass(frozen=True)
class Options:
    """``rate``: play at this multiple of the recorded speed; 0 = as fast as frames are taken."""

    rate: float = 0.0


def about(path: Path) -> dict[str, str] | None:
    """What our recorder says about itself at the beginning of a file; None for a file that is not ours."""
    with path.open("rb") as stream:
        try:
            for count, record in enumerate(StreamReader(stream).records):
                if isinstance(record, Metadata) and record.name == "mutualformer":
                    return dict(record.metadata)
                if isinstance(record, Message) or count > 100:
                    return None
        except (McapError, ValueError, OSError) as error:
            raise CameraError(f"{path}: not a readable MCAP file ({error or type(error).__name__})") from None
    return None


class RecordingCamera(BaseCamera):
    """The frames of all parts in order. ``outputs``: what the model said then, per tensor, of the last frame read."""

    def __init__(self, parts: list[Path], first: dict[str, str], options: Options, name: str) -> None:
        if first.get("format") != "1":
            raise CameraError(f"{name}: recording format is {first.get('format')!r}, this program reads format '1'")
        lens = json.loads(first["intrinsics"])
        super().__init__(
            name,
            live=False,
            intrinsics=Intrinsics.from_json(lens) if lens else None,
            depth_scale=json.loads(first["depth_scale"]),
        )
        self.outputs: dict[str, Any] = {}
        self.truncated = False
        self._options = options
        self._frames = self._all(parts)
        self._clock: tuple[float, float] | None = None
        self._pending: Frame | None = None

    def _all(self, parts: list[Path]) -> Generator[Frame, None, None]:
        for part in parts:
            yield from self._part(part)

    def _part(self, path: Path) -> Generator[Frame, None, None]:
        topics: dict[int, str] = {}
        arrived: dict[str, bytes] = {}
        count, whole = 0, False
        with path.open("rb") as stream:
            try:
                for record in StreamReader(stream, validate_crcs=True).records:
                    if isinstance(record, Channel):
                        topics[record.id] = record.topic
                    elif isinstance(record, Footer):
                        whole = True
                    elif isinstance(record, Message):
                        topic = topics[record.channel_id]
                        if topic != ros.FRAME:
                            arrived[topic] = record.data
                            continue
                        frame = self._frame(arrived, record.data)
                        arrived = {}
                        count += 1
                        yield frame
            except (McapError, ValueError, KeyError, OSError) as error:
                self.warn(f"{path}: damaged after {count} frames ({error or type(error).__name__})")
            if not whole:
                self.truncated = True
                self.warn(f"{path}: cut short, it was not closed; {count} whole frames read")

    def _frame(self, arrived: dict[str, bytes], told: bytes) -> Frame:
        facts = json.loads(ros.read_text(told))
        rgb, _, _ = ros.read_image(arrived[ros.COLOUR])
        raw, _, _ = ros.read_image(arrived[ros.DEPTH])
        nir = ros.read_image(arrived[ros.NIR])[0] if ros.NIR in arrived else None
        self.outputs = {
            topic[len(ros.OUTPUT) :]: ros.read_image(data)[0]
            for topic, data in arrived.items()
            if topic.startswith(ros.OUTPUT)
        }
        depth = metres(raw, self.depth_scale) if raw.dtype == np.uint16 else raw
        return Frame(rgb, depth, facts["timestamp"], facts["depth_timestamp"], facts["sequence"], nir)

    def read(self, timeout: float = 1.0) -> Frame | None:
        began = time.perf_counter()
        frame = self._pending or next(self._frames, None)
        self.busy_s = time.perf_counter() - began
        self._pending = None
        if frame is None or self._options.rate <= 0:
            return frame
        now = time.monotonic()
        if self._clock is None:
            self._clock = (now, frame.timestamp)
        wait = self._clock[0] + (frame.timestamp - self._clock[1]) / self._options.rate - now
        if wait > timeout:
            self._pending = frame
            time.sleep(timeout)
            raise CameraTimeout(f"{self.name}: the next frame is {wait:.1f} s away")
        if wait > 0:
            time.sleep(wait)
        return frame

    def close(self) -> None:
        # Ends the generator, which closes its file; one that is running in another thread ends by itself.
        with contextlib.suppress(ValueError):
            self._frames.close()


def open_source(target: str, given: Mapping[str, Any]) -> Camera:
    """``target``: an MCAP file or a folder of them. Files that are not ours go to the ROS bag source."""
    path = Path(target)
    parts = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
    if not parts or not parts[0].is_file():
        raise CameraError(f"recording:{target}: no .mcap file there")
    first = about(parts[0])
    if first is None:
        from mutualformer.runtime.cameras import require, rosbag

        require("rosbags", "ros", what=target)
        return rosbag.open_source(target, given)
    return RecordingCamera(parts, first, opts.parse(Options, given, f"recording:{target}"), f"recording:{target}")
