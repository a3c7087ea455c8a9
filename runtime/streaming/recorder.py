"""Records what the model saw and said, without loss, into MCAP files that any ROS 2 or Foxglove tool opens.

``docs/recording.md`` describes the file. A recording is a folder of parts of at most 1 GiB; each frame is on its way
to the disk within half a second, and every part reads up to its last whole chunk, however the program ended.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.cameras.base import Camera, metres
from mutualformer.runtime.recording import ros_messages as ros
from mutualformer.runtime.recording.mcap_file import McapFile
from mutualformer.runtime.streaming.sinks import Result

FORMAT_VERSION = "1"
FLUSH_SECONDS = 0.5


class Part:
    """One MCAP file. Flushed to the system twice a second, so that it survives the death of the process."""

    def __init__(self, path: Path, camera: Camera, model: str) -> None:
        self.path = path
        self._file = McapFile(path, "mutualformer")
        self._channels: dict[str, int] = {}
        self._flushed = time.monotonic()
        self._camera = camera
        lens = camera.intrinsics.to_json() if camera.intrinsics is not None else None
        about = {
            "format": FORMAT_VERSION,
            "source": camera.name,
            "model": model,
            "depth_scale": json.dumps(camera.depth_scale),
            "intrinsics": json.dumps(lens),
        }
        self._file.metadata("mutualformer", about)

    def _add(self, topic: str, kind: str, data: list[bytes | memoryview], nanoseconds: int, number: int) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._file.channel(topic, kind, ros.SCHEMAS[kind])
        self._file.message(self._channels[topic], data, nanoseconds, number)

    def write(self, result: Result, number: int) -> None:
        """All of one frame; its ``frame`` message comes last: a reader takes no frame without it."""
        frame = result.frame
        now = time.time_ns()
        image, lens = "sensor_msgs/msg/Image", self._camera.intrinsics
        if lens is not None and ros.INFO not in self._channels:
            message = ros.write_camera_info(lens, max(0.0, frame.timestamp), "camera_color")
            self._add(ros.INFO, "sensor_msgs/msg/CameraInfo", message, now, number)
        stamp, depth_stamp = max(0.0, frame.timestamp), max(0.0, frame.depth_timestamp)
        self._add(ros.COLOUR, image, ros.write_image(frame.rgb, "rgb8", stamp, "camera_color"), now, number)
        units, encoding = integers(frame.depth, self._camera.depth_scale)
        self._add(ros.DEPTH, image, ros.write_image(units, encoding, depth_stamp, "camera_color"), now, number)
        if frame.nir is not None:
            self._add(ros.NIR, image, ros.write_image(frame.nir, "rgb8", stamp, "camera_nir"), now, number)
        for name, value in result.outputs.items():
            table = np.atleast_2d(value)
            self._add(ros.OUTPUT + name, image, ros.write_image(table, "32FC1", stamp, "camera_color"), now, number)
        told = {
            "sequence": frame.sequence,
            "timestamp": frame.timestamp,
            "depth_timestamp": frame.depth_timestamp,
            "stages": result.stages,
            "dropped": result.dropped,
            "match": result.match,
        }
        self._add(ros.FRAME, "std_msgs/msg/String", ros.write_text(json.dumps(told)), now, number)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.size

    def close(self) -> None:
        self._file.close()


def integers(depth: NDArray[np.float32], scale: float | None) -> tuple[NDArray[Any], str]:
    """Metres → the 16-bit units they were made of, if they were; else the float metres. Never rounded."""
    if scale is not None:
        units = (depth * np.float32(1.0 / scale) + np.float32(0.5)).astype(np.uint16)
        if np.array_equal(metres(units, scale), depth):
            return units, "16UC1"
    return depth, "32FC1"


class Recorder:
    """A sink that records while it is switched on.

    ``on``: from the first frame. ``part_bytes``: start a new file beyond this. ``keep_free``: stop recording, not
    streaming, when the disk has fewer bytes left. ``problem`` tells in one sentence why a recording ended by itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on: bool = True,
        model: str = "none",
        part_bytes: int = 1 << 30,
        keep_free: int = 256 << 20,
    ) -> None:
        self.name = "recorder"
        self.problem, self.path = "", ""
        self.recorded, self.bytes = 0, 0
        self._folder, self._model = Path(folder), model
        self._part_bytes, self._keep_free = part_bytes, keep_free
        self._wanted = threading.Event()
        if on:
            self._wanted.set()
        self._take = self._recorded_take = 0
        self._camera: Camera | None = None
        self._session: Path | None = None
        self._part: Part | None = None
        self._parts = self._number = self._closed_bytes = 0
        self._checked = float("-inf")

    def switch(self, on: bool) -> None:
        """Start or stop with the next frame. From any thread."""
        if on:
            if not self._wanted.is_set():
                self._take += 1
            self.problem = ""
            self._wanted.set()
        else:
            self._wanted.clear()

    @property
    def recording(self) -> bool:
        return self._wanted.is_set()

    def open(self, camera: Camera) -> None:
        self._camera = camera

    def write(self, result: Result) -> None:
        if not self._wanted.is_set():
            self._finish()
            return
        if self._recorded_take != self._take:  # switched off and on again since the last frame
            self._finish()
            self._recorded_take = self._take
        try:
            self._check_disk()
            if self._part is None or self._part.size >= self._part_bytes:
                self._next_part()
            assert self._part is not None
            self._part.write(result, self._number)
            self._number += 1
            self.recorded += 1
            self.bytes = self._closed_bytes + self._part.size
        except OSError as error:
            self._wanted.clear()
            self._finish()
            where = self._session or self._folder
            self.problem = f"recording to {where} ended: {error.strerror or error}; the stream goes on without it"

    def _check_disk(self) -> None:
        """Twice a second: recording the last byte of a disk takes the machine down with it."""
        now = time.monotonic()
        if now - self._checked < 0.5:
            return
        self._checked = now
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if free < self._keep_free:
            raise OSError(f"the disk has {free >> 20} MiB left, less than the {self._keep_free >> 20} MiB kept free")

    def _next_part(self) -> None:
        assert self._camera is not None
        if self._session is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            names = [stamp, *(f"{stamp}-{again}" for again in range(2, 100))]
            self._session = next(self._folder / name for name in names if not (self._folder / name).exists())
            self._session.mkdir(parents=True)
            self.path = str(self._session)
            self._parts = self._number = self._closed_bytes = 0
        else:
            self._close_part()
        self._part = Part(self._session / f"part-{self._parts:04d}.mcap", self._camera, self._model)
        self._parts += 1

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()
            self._closed_bytes += part.path.stat().st_size

    def _finish(self) -> None:
        try:
            self._close_part()
        except OSError as error:
            self.problem = f"recording {self.path}: its index could not be written ({error.strerror}); it still opens"
        self._session = None

    def close(self) -> None:
        self._finish()

    def details(self) -> dict[str, Any]:
        """For the status line and the page."""
        return {
            "recording": self.recording,
            "path": self.path,
            "frames": self.recorded,
            "bytes": self.bytes,
            "problem": self.problem,
        }
