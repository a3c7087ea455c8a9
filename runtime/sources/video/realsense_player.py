"""Recordings made by librealsense (``.db3``, ``.bag``): every frame once, in order, however slow the reader.

librealsense's own pipeline repeats and skips frames of a recording, so this module reads its sensors one by one and
pairs the two streams.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any

import pyrealsense2 as rs

from mutualformer.runtime.mailbox import Mailbox
from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.devices import realsense
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.pacing import PlayedCamera
from mutualformer.runtime.sources.pairing import Pairer


@dataclass(frozen=True)
class Options(realsense.Filters):
    """``max_skew``: seconds between paired colour and depth. ``rate``: play at this multiple of the recorded speed; 0 =
    as fast as frames are taken."""

    max_skew: float = 0.05
    rate: float = 0.0


START_SECONDS = 2.0
KINDS = {"depth": rs.stream.depth, "colour": rs.stream.color}


class Player:
    """Plays a recording into one queue, every frame of both streams from ``position`` on, 0 … 1 of the recording.

    ``_arrived`` runs in librealsense's playback thread and blocks it while the queue is full (back-pressure), and until
    all sensors have started: a sensor loses the frames that are read before it starts. (librealsense's own pause and
    resume would deadlock: they wait for callbacks while they hold the GIL.)
    """

    def __init__(self, device: Any, streams: list[tuple[Any, Any]], position: float) -> None:
        self.ended = False
        self._playback = device.as_playback()
        self._playback.set_real_time(False)
        self._duration = self._playback.get_duration()
        self._mailbox: Mailbox[tuple[Any, float]] = Mailbox(lossless=True, capacity=8)
        self._all_started = threading.Event()
        self._count, self._since = 0, time.monotonic()
        self._sensors: list[Any] = []
        # Both streams may come from one sensor, which takes all its profiles at once.
        for sensor in {sensor.get_info(rs.camera_info.name): sensor for sensor, _ in streams}.values():
            name = sensor.get_info(rs.camera_info.name)
            sensor.open([profile for owner, profile in streams if owner.get_info(rs.camera_info.name) == name])
            self._sensors.append(sensor)
        if position:
            self._playback.seek(position * self._duration)
        for sensor in self._sensors:
            sensor.start(self._arrived)
        self._all_started.set()

    def _arrived(self, frame: Any) -> None:
        self._all_started.wait(START_SECONDS)
        self._count += 1
        frame.keep()  # out of librealsense's small pool, which would drop frames while these wait
        position = self._playback.get_position() / 1e9 / max(self._duration.total_seconds(), 1e-9)
        self._mailbox.put((frame, min(1.0, position)))

    def get(self, timeout: float) -> tuple[Any, float] | None:
        """The next frame and its place in the file, 0 … 1; None when there is none within ``timeout`` seconds.

        Sets ``ended`` after the last one.
        """
        stopped = self._playback.current_status() == rs.playback_status.stopped
        frame = self._mailbox.get(timeout)
        # Playback starts a moment after the sensors, so "stopped" means ended only once a frame has come.
        playing = self._count > 0 or time.monotonic() - self._since > START_SECONDS
        self.ended = self._mailbox.finished or (frame is None and stopped and playing)
        return frame

    def stop(self) -> None:
        """End playback and close the sensors; frees a playback thread that waits. May be called twice."""
        self._all_started.set()
        self._mailbox.close()  # frees a playback thread that waits for room
        for sensor in self._sensors:
            with contextlib.suppress(RuntimeError):  # a recording that has ended has already stopped its sensors
                sensor.stop()
            with contextlib.suppress(RuntimeError):
                sensor.close()
        self._sensors = []


class PlaybackCamera(PlayedCamera):
    """Pairs the two streams by time."""

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(str(path), live=False)
        self._path, self._options = path, options
        self._stop: Callable[[], Any] = lambda: None
        self._opened: tuple[Any, dict[Any, tuple[Any, Any]]] | None = self._streams()
        colour = self._opened[1][rs.stream.color][1]
        if colour.format() not in (rs.format.rgb8, rs.format.bgr8):
            raise CameraError(f"{path}: colour is recorded as {colour.format()}, expected RGB8 or BGR8")
        self.intrinsics = realsense.calibration(colour)
        self.play(self._all, options.rate)

    def _streams(self) -> tuple[Any, dict[Any, tuple[Any, Any]]]:
        """The file as a device, and the (sensor, profile) of each kind of stream. Raises CameraError."""
        try:
            device = rs.context().load_device(str(self._path))
        except RuntimeError as error:
            raise CameraError(
                f"{self._path}: librealsense cannot open it ({error}); is it a RealSense recording?"
            ) from error
        streams: dict[Any, tuple[Any, Any]] = {}
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                streams.setdefault(profile.stream_type(), (sensor, profile))
            if sensor.supports(rs.option.depth_units):
                self.depth_scale = float(sensor.get_option(rs.option.depth_units))
        missing = [name for name, kind in KINDS.items() if kind not in streams]
        if missing:
            raise CameraError(f"{self._path}: the recording has no {' and no '.join(missing)} stream")
        return device, streams

    def _all(self, position: float) -> Generator[Frame, None, None]:
        """The frames from ``position`` on; times are the recording's, in seconds."""
        # What the constructor opened is played first; a device that has played is of no use after a seek.
        device, streams = self._opened or self._streams()
        self._opened = None
        player = Player(device, [streams[kind] for kind in KINDS.values()], position)
        # Also at interpreter exit: a callback that comes after Python is gone would abort the process.
        self._stop = weakref.finalize(self, player.stop)
        convert = realsense.Converter(self._options)
        pairer: Pairer[Any] = Pairer(self._options.max_skew)

        def made(colour: tuple[Any, float], depth: tuple[Any, float]) -> Frame:
            frame = convert(depth[0].as_depth_frame(), colour[0].as_video_frame(), None, self.depth_scale)
            return replace(frame, position=colour[1])

        try:
            while not player.ended:
                got = player.get(0.05)
                if got is not None:
                    is_colour = got[0].get_profile().stream_type() == rs.stream.color
                    add = pairer.colour if is_colour else pairer.depth
                    yield from starmap(made, add(got[0].get_timestamp() / 1000, got))
            yield from starmap(made, pairer.flush())
            self.sum_up(pairer.unpaired)
        finally:
            self._stop()

    def close(self) -> None:
        """End playback and close the file."""
        super().close()
        self._stop()


def open_source(target: str, query: Mapping[str, Any]) -> PlaybackCamera:
    """``target``: the file."""
    return PlaybackCamera(Path(target), opts.parse(Options, query, target))
