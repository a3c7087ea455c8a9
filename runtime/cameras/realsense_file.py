"""Recordings made by librealsense (``.db3``, ``.bag``): every frame once, in order, however slow the reader.

librealsense's own pipeline repeats and skips frames of a recording, so its sensors are read directly and the two
streams are paired here.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrealsense2 as rs

from runtime.cameras import options as opts
from runtime.cameras import realsense
from runtime.cameras.base import BaseCamera, CameraError, CameraTimeout, Frame
from runtime.cameras.pairing import Pairer
from runtime.mailbox import Mailbox


@dataclass(frozen=True)
class Options:
    """``max_skew``: seconds between paired colour and depth. ``realtime``: play at the recorded speed."""

    spatial: bool = False
    temporal: bool = False
    holes: bool = False
    align: bool = True
    max_skew: float = 0.05
    realtime: bool = False


class PlaybackCamera(BaseCamera):
    """librealsense's playback thread waits in ``_arrived`` until there is room: that is the back-pressure."""

    def __init__(self, path: Path, options: Options) -> None:
        if not path.is_file():
            raise CameraError(f"{path}: no such recording")
        try:
            device = rs.context().load_device(str(path))
        except RuntimeError as error:
            raise CameraError(f"{path}: librealsense cannot open it ({error}); is it a RealSense recording?") from error
        self._playback = device.as_playback()
        self._playback.set_real_time(options.realtime)
        self._sensors: list[Any] = []
        self._queue: Mailbox[Any] = Mailbox(lossless=True, capacity=4)
        self._pairer: Pairer[Any] = Pairer(options.max_skew)
        self._ready: deque[tuple[Any, Any]] = deque()
        self._ended = threading.Event()
        self._flushed = self._closed = False
        self._convert = realsense.Converter(
            realsense.Options(
                spatial=options.spatial, temporal=options.temporal, holes=options.holes, align=options.align
            )
        )
        super().__init__(str(path), live=False)
        self._start(device, path)

    def _start(self, device: Any, path: Path) -> None:
        chosen: dict[Any, list[Any]] = {}
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                kind = profile.stream_type()
                if kind in (rs.stream.depth, rs.stream.color):
                    chosen.setdefault(kind, [sensor, profile])
            if sensor.supports(rs.option.depth_units):
                self.depth_scale = float(sensor.get_option(rs.option.depth_units))
        missing = [
            name for name, kind in (("depth", rs.stream.depth), ("colour", rs.stream.color)) if kind not in chosen
        ]
        if missing:
            raise CameraError(f"{path}: the recording has no {' and no '.join(missing)} stream")
        colour = chosen[rs.stream.color][1]
        if colour.format() not in (rs.format.rgb8, rs.format.bgr8):
            raise CameraError(f"{path}: colour is recorded as {colour.format()}, expected RGB8 or BGR8")
        self.intrinsics = realsense.calibration(colour)
        self._playback.set_status_changed_callback(self._status)
        # Both streams may come from one sensor, which takes all its profiles at once.
        for sensor in {id(sensor): sensor for sensor, _ in chosen.values()}.values():
            sensor.open([profile for owner, profile in chosen.values() if owner is sensor])
            self._sensors.append(sensor)
        # Playing begins with the first sensor started; paused, the others do not miss its first frames.
        self._playback.pause()
        for sensor in self._sensors:
            sensor.start(self._arrived)
        self._playback.resume()

    def _arrived(self, frame: Any) -> None:
        self._queue.put(frame)

    def _status(self, status: Any) -> None:
        if status == rs.playback_status.stopped:
            self._ended.set()

    def read(self, timeout: float = 1.0) -> Frame | None:
        end = time.monotonic() + timeout
        while not self._ready:
            frame = self._queue.get(0.02 if self._ended.is_set() else min(0.1, timeout))
            if frame is not None:
                is_colour = frame.get_profile().stream_type() == rs.stream.color
                add = self._pairer.colour if is_colour else self._pairer.depth
                self._ready.extend(add(frame.get_timestamp() / 1000, frame))
            elif self._ended.is_set():
                if self._flushed:
                    self._report_unpaired()
                    return None
                self._flushed = True
                self._ready.extend(self._pairer.flush())
            elif time.monotonic() >= end:
                raise CameraTimeout(f"{self.name}: the recording gave no frame within {timeout:g} s")
        colour, depth = self._ready.popleft()
        began = time.perf_counter()
        result = self._convert(depth.as_depth_frame(), colour.as_video_frame(), None, self.depth_scale)
        self.busy_s = time.perf_counter() - began
        return result

    def _report_unpaired(self) -> None:
        if self._pairer.unpaired:
            self.warn(f"{self.name}: {self._pairer.unpaired} colour frames have no depth in time, left out")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.close()  # frees a playback thread that waits for room
        for sensor in self._sensors:
            with contextlib.suppress(RuntimeError):  # a recording that has ended has already stopped its sensors
                sensor.stop()
            with contextlib.suppress(RuntimeError):
                sensor.close()


def open_source(target: str, given: Mapping[str, Any]) -> PlaybackCamera:
    """``target``: the file."""
    return PlaybackCamera(Path(target), opts.parse(Options, given, target))
