"""Recordings made by librealsense (``.db3``, ``.bag``): every frame once, in order, however slow the reader.

librealsense's own pipeline repeats and skips frames of a recording, so its sensors are read one by one and the two
streams are paired here.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
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


START_SECONDS = 2.0


class Stream:
    """One stream of a recording, read by a playback device of its own.

    The file is opened once per stream because playing begins with the first sensor started, and the others lose what
    is read before they start; librealsense's pause and resume, which should cure that, wait for their own callbacks
    with Python's lock held. The playback thread waits in ``_arrived`` while the mailbox is full: back-pressure.
    """

    def __init__(self, path: Path, kind: Any, realtime: bool) -> None:
        try:
            device = rs.context().load_device(str(path))
        except RuntimeError as error:
            raise CameraError(f"{path}: librealsense cannot open it ({error}); is it a RealSense recording?") from error
        self._kind = kind
        self._playback = device.as_playback()
        self._playback.set_real_time(realtime)
        self._started: list[Any] = []
        self._mailbox: Mailbox[Any] = Mailbox(lossless=True, capacity=4)
        self.view: Any = None
        self.ended = False
        self._count, self._since = 0, time.monotonic()
        self._ready = threading.Event()
        self.profiles: dict[Any, tuple[Any, Any]] = {}
        self.scale: float | None = None
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                self.profiles.setdefault(profile.stream_type(), (sensor, profile))
            if sensor.supports(rs.option.depth_units):
                self.scale = float(sensor.get_option(rs.option.depth_units))

    def start(self, also: Any = None) -> None:
        """``also``: a second stream of which one frame is kept in ``view``: alignment needs a frame of this device."""
        for kind in (self._kind, *([also] if also is not None else [])):
            sensor, profile = self.profiles[kind]
            sensor.open([profile])
            self._started.append(sensor)
            sensor.start(self._arrived)
        self._ready.set()

    def _arrived(self, frame: Any) -> None:
        if frame.get_profile().stream_type() == self._kind:
            # Until the second sensor has started, too: a short file would be over before.
            self._ready.wait(START_SECONDS)
            self._count += 1
            frame.keep()  # out of librealsense's small pool, which would drop frames while these wait
            self._mailbox.put(frame)
        elif self.view is None:
            frame.keep()
            self.view = frame

    def get(self, timeout: float) -> Any:
        """The next frame, None when there is none within ``timeout`` seconds; sets ``ended`` after the last one."""
        stopped = self._playback.current_status() == rs.playback_status.stopped
        frame = self._mailbox.get(timeout)
        # Playing starts a moment after the sensors do; a frame may still be on its way when it has stopped.
        begun = self._count > 0 or time.monotonic() - self._since > START_SECONDS
        self.ended = frame is None and stopped and begun
        return frame

    def stop(self) -> None:
        self._ready.set()
        self._mailbox.close()  # frees a playback thread that waits for room
        for sensor in self._started:
            with contextlib.suppress(RuntimeError):  # a recording that has ended has already stopped its sensors
                sensor.stop()
            with contextlib.suppress(RuntimeError):
                sensor.close()
        self._started = []


class PlaybackCamera(BaseCamera):
    """Pairs the two streams by time."""

    def __init__(self, path: Path, options: Options) -> None:
        if not path.is_file():
            raise CameraError(f"{path}: no such recording")
        super().__init__(str(path), live=False)
        self._depth = Stream(path, rs.stream.depth, options.realtime)
        self._colour = Stream(path, rs.stream.color, options.realtime)
        missing = [
            name
            for name, kind in (("depth", rs.stream.depth), ("colour", rs.stream.color))
            if kind not in self._depth.profiles
        ]
        if missing:
            raise CameraError(f"{path}: the recording has no {' and no '.join(missing)} stream")
        colour = self._depth.profiles[rs.stream.color][1]
        if colour.format() not in (rs.format.rgb8, rs.format.bgr8):
            raise CameraError(f"{path}: colour is recorded as {colour.format()}, expected RGB8 or BGR8")
        self.intrinsics, self.depth_scale = realsense.calibration(colour), self._depth.scale
        self._realign = options.align and not realsense.same_view(self._depth.profiles[rs.stream.depth][1], colour)
        self._pairer: Pairer[Any] = Pairer(options.max_skew)
        self._ready: deque[tuple[Any, Any]] = deque()
        self._newest = [float("-inf"), float("-inf")]
        self._flushed = False
        self._convert = realsense.Converter(
            realsense.Options(
                spatial=options.spatial, temporal=options.temporal, holes=options.holes, align=self._realign
            )
        )
        # Also at interpreter exit: a callback that comes after Python is gone would abort the process.
        self._stop = weakref.finalize(self, stop_all, [self._depth, self._colour])
        self._depth.start(also=rs.stream.color if self._realign else None)
        self._colour.start()

    def read(self, timeout: float = 1.0) -> Frame | None:
        end = time.monotonic() + timeout
        while not self._ready:
            if self._depth.ended and self._colour.ended:
                if self._flushed:
                    self._report_unpaired()
                    return None
                self._flushed = True
                self._ready.extend(self._pairer.flush())
            elif not self._pull() and time.monotonic() >= end:
                raise CameraTimeout(f"{self.name}: the recording gave no frame within {timeout:g} s")
        colour, depth = self._ready.popleft()
        while self._realign and self._depth.view is None:
            if time.monotonic() >= end:
                self._ready.appendleft((colour, depth))
                raise CameraTimeout(f"{self.name}: the recording gave no colour frame within {timeout:g} s")
            time.sleep(0.005)
        began = time.perf_counter()
        result = self._convert(
            depth.as_depth_frame(), colour.as_video_frame(), None, self.depth_scale, self._depth.view
        )
        self.busy_s = time.perf_counter() - began
        return result

    def _pull(self) -> bool:
        """Take one frame from the stream that is behind the other, False where none came."""
        first, other = (
            (self._colour, self._depth) if self._newest[0] <= self._newest[1] else (self._depth, self._colour)
        )
        behind = other if first.ended else first
        frame = behind.get(0.05)
        if frame is None:
            return False
        stamp = frame.get_timestamp() / 1000
        if behind is self._colour:
            self._newest[0] = stamp
            self._ready.extend(self._pairer.colour(stamp, frame))
        else:
            self._newest[1] = stamp
            self._ready.extend(self._pairer.depth(stamp, frame))
        return True

    def _report_unpaired(self) -> None:
        if self._pairer.unpaired:
            self.warn(f"{self.name}: {self._pairer.unpaired} colour frames have no depth in time, left out")

    def close(self) -> None:
        self._stop()


def stop_all(streams: list[Stream]) -> None:
    for stream in streams:
        stream.stop()


def open_source(target: str, given: Mapping[str, Any]) -> PlaybackCamera:
    """``target``: the file."""
    return PlaybackCamera(Path(target), opts.parse(Options, given, target))
