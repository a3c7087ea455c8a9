"""Record frames and answers into MCAP files, which ROS 2 and Foxglove tools open.

``docs/recording.md`` describes the file. A recording is a folder of parts of at most 1 GiB. Each frame is handed to
the operating system within half a second, and a part plays up to its last whole chunk, however the program ended.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from mutualformer.runtime.files import reason
from mutualformer.runtime.recording import topics
from mutualformer.runtime.recording.frame_messages import frame_messages, info_message
from mutualformer.runtime.recording.info import NAME, RecordingInfo
from mutualformer.runtime.recording.mcap_file import McapFile
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.streaming.sinks import Result

FLUSH_SECONDS = 0.5
DISK_LOOK_SECONDS = 0.5


class PartWriter:
    """One MCAP file, flushed to the operating system twice a second, so that it survives a crash of this process."""

    def __init__(self, path: Path, camera: BaseCamera, info: RecordingInfo, compress: bool = False) -> None:
        self.path, self._compress = path, compress
        self._messages = 0
        self._ends: deque[int] = deque()  # cumulative message count at the end of each frame not yet flushed
        self.file = McapFile(path, "mutualformer")
        self._channels: dict[str, int] = {}
        self._flushed = time.monotonic()
        self._last_ns = 0
        self._camera = camera
        self._about = info.to_metadata()
        self.file.metadata(NAME, self._about)

    def _add(self, topic: str, kind: str, data: list[bytes | memoryview], nanoseconds: int, number: int) -> None:
        if topic not in self._channels:
            self._channels[topic] = self.file.channel(topic, kind, ros.SCHEMAS[kind])
        self.file.message(self._channels[topic], data, nanoseconds, number)
        self._messages += 1

    def write(self, result: Result, number: int) -> None:
        """Write all messages of one frame."""
        # All messages of a frame share one log time, unique to the frame: readers group them by it.
        now = self._last_ns = max(time.time_ns(), self._last_ns + 1)
        if self._camera.intrinsics is not None and topics.INFO not in self._channels:
            self._add(*info_message(self._camera.intrinsics, result.frame.timestamp), now, number)
        for message in frame_messages(result, self._camera.depth_scale, self._about, self._compress):
            self._add(*message, now, number)
        self._ends.append(self._messages)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.file.flush()
            self._flushed = time.monotonic()

    @property
    def unsaved(self) -> int:
        """Number of frames with a message that is still in memory."""
        while self._ends and self._ends[0] <= self.file.saved:
            self._ends.popleft()
        return len(self._ends)


def new_folder(parent: Path, name: str) -> Path:
    """Make a new folder ``name``, ``name-2``, …, so that two recorders that start in one second get two."""
    for number in range(1, 10_000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise OSError(f"{parent} has thousands of folders {name}")


class Recorder:
    """A sink that records while it is switched on.

    ``on``: record from the first frame. ``part_bytes``: size above which a new file is started. ``keep_free``: stop
    recording, but not streaming, when the disk has fewer bytes free. ``compress``: see :func:`frame_messages`.
    ``most_s``: seconds after which a recording ends. ``problem``: why a recording ended by itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on: bool = True,
        model: str = "none",
        part_bytes: int = 1 << 30,
        keep_free: int = 256 << 20,
        compress: bool = False,
        most_s: float = float("inf"),
    ) -> None:
        self.name = "recorder"
        self.problem, self.path = "", ""
        self.recorded, self.bytes = 0, 0
        self.folder, self._model = Path(folder), model
        self._part_bytes, self._keep_free = part_bytes, keep_free
        self._compress, self._most_s = compress, most_s
        self.recording = on  # whether it is switched on; the next frame is then recorded
        self._take = self._recorded_take = 0
        self._camera: BaseCamera | None = None
        self._session: Path | None = None
        self._part: PartWriter | None = None
        self._parts = self._number = self._closed_bytes = 0
        self._checked = float("-inf")
        self._free = 0
        self._since = time.monotonic()
        self._info: RecordingInfo | None = None

    def switch(self, on: bool) -> None:
        """Start or stop with the next frame. From any thread."""
        if on and not self.recording:
            self._take += 1
            self._since = time.monotonic()
        if on:
            self.problem = ""
        self.recording = on

    @property
    def writing(self) -> Path | None:
        """The folder of the recording that is being written."""
        return self._session.absolute() if self._session is not None else None

    def open(self, camera: BaseCamera) -> None:
        """As Sink.open; the file is made with the first frame."""
        self._camera = camera

    def write(self, result: Result) -> None:
        """Record one result where switched on. A full or failing disk ends the recording, but not the stream.

        ``problem`` then holds the reason, and ``recorded`` counts the frames that are in a file.
        """
        if self._session is not None and time.monotonic() - self._since >= self._most_s:
            self.recording = False
        if not self.recording:
            self.close()
            return
        if self._recorded_take != self._take:  # switched off and on again since the last frame
            self.close()
            self._recorded_take = self._take
        try:
            self._check_disk()
            if self._part is None or self._part.file.size >= self._part_bytes:
                self._next_part()
            assert self._part is not None
            self._part.write(result, self._number)
            self._number += 1
            self.recorded += 1
            self.bytes = self._closed_bytes + self._part.file.size
        except OSError as error:
            self.recording = False
            where = self._session or self.folder
            if self._part is not None:
                self.recorded -= self._part.unsaved  # frames in memory were never written
            self.close()
            self.problem = f"recording to {where} ended: {reason(error)}; the stream continues without it"

    def _check_disk(self) -> None:
        """Check the free space twice a second: a system whose disk is full may fail."""
        now = time.monotonic()
        if now - self._checked < DISK_LOOK_SECONDS:
            return
        self._checked = now
        self.folder.mkdir(parents=True, exist_ok=True)
        self._free = free = shutil.disk_usage(self.folder).free
        if free < self._keep_free:
            raise OSError(f"the disk has {free >> 20} MiB left, less than the {self._keep_free >> 20} MiB kept free")

    def _next_part(self) -> None:
        assert self._camera is not None
        if self._session is None:
            self._session = new_folder(self.folder, time.strftime("%Y%m%d-%H%M%S"))
            self.path = str(self._session)
            camera = self._camera
            self._info = RecordingInfo(
                camera.name, self._model, camera.depth_scale, camera.intrinsics, recording=secrets.token_hex(8)
            )
            self._parts = self._number = self._closed_bytes = 0
        else:
            self._close_part()
        assert self._info is not None
        self._part = PartWriter(
            self._session / f"part-{self._parts:04d}.mcap", self._camera, self._info, self._compress
        )
        self._parts += 1

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.file.close()
            self._closed_bytes += part.path.stat().st_size

    def close(self) -> None:
        """Finish the recording; with another frame a new one may begin."""
        try:
            self._close_part()
        except OSError as error:
            self.problem = f"recording {self.path}: its index could not be written ({reason(error)}); it still opens"
        self._session = None

    def details(self) -> dict[str, Any]:
        """For the status line and the page."""
        return {
            "recording": self.recording,
            "elapsed_s": round(time.monotonic() - self._since, 3) if self.recording else 0.0,
            "free_bytes": self._free,
            "path": self.path,
            "frames": self.recorded,
            "bytes": self.bytes,
            "problem": self.problem,
        }
