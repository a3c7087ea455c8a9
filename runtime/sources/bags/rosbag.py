"""Plays ROS 1 and ROS 2 bags without ROS installed.

Depth of 16 bits is in millimetres by ROS convention, unless ``depth_scale`` (metres per unit) is given; float depth is
in metres unless it is given. :mod:`topic_choice` decides which topics fit together; ``colour=/topic`` and
``depth=/topic`` name them. A child process runs this, because the file may be hostile.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.bag_times import CLOCKS, clock
from mutualformer.runtime.sources.bags.containers import Bag, BagError, BagMessage
from mutualformer.runtime.sources.bags.open_bag import open_bag
from mutualformer.runtime.sources.bags.topic_choice import choose
from mutualformer.runtime.sources.bags.topic_samples import calibration, sample_topics
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.depth import MILLIMETRES, DepthOptions, aligned, to_metres
from mutualformer.runtime.sources.frame import DataError, Frame
from mutualformer.runtime.sources.pacing import PlayedCamera
from mutualformer.runtime.sources.pairing import Pairer

EARLIER_NS = 1_000_000_000  # the depth map of an image is recorded less than this before it


@dataclass(frozen=True)
class Options(DepthOptions):
    """``max_skew``: seconds between paired colour and depth.

    ``time``: pair by the ``header`` stamps or by the recording times, ``log``; "" = headers where they are plausible.
    """

    colour: str = ""
    depth: str = ""
    max_skew: float = 0.03
    time: str = ""


@dataclass(frozen=True)
class Picture:
    """``stamp``: seconds of the clock by which the two topics are paired. ``log_time``: of recording, ns."""

    stamp: float
    log_time: int
    content: ros.Image | ros.CompressedImage


class BagCamera(PlayedCamera):
    """Reads both topics in the bag's order and pairs them by time; images that cannot be read are left out."""

    def __init__(self, path: Path, options: Options) -> None:
        name = f"rosbag:{path}"
        super().__init__(name, live=False, depth_scale=options.depth_scale or MILLIMETRES)
        self._rule = options.rule
        if options.time not in CLOCKS:
            raise CameraError(f"{name}: time={options.time} is no clock, expected header or log")
        try:
            self._bag: Bag = open_bag(path)
        except BagError as error:
            raise CameraError(f"{name}: not a readable ROS bag ({error})") from error
        try:
            self._choose(options)
        except DataError as error:
            self._bag.close()
            problem = f" ({self._bag.problems[0]})" if self._bag.problems else ""
            raise CameraError(f"{name}: {error}{problem}") from error
        self._max_skew = options.max_skew
        self._span = self._bag.span
        self.play(self._all, seekable=self._span is not None)

    def _choose(self, options: Options) -> None:
        """Decide on topics, calibration and clock. Raises DataError, one clause."""
        if any(topic.startswith("/device_0/") for topic in self._bag.topics):
            raise DataError(
                "is a RealSense recording, whose depth is neither aligned nor in millimetres; open it by its path alone"
            )
        encodings: set[str] = getattr(self._bag, "encodings", set())
        if encodings and not encodings & {"cdr", "ros1"}:
            found = ", ".join(map(repr, sorted(encodings)))
            raise DataError(f"its messages are {found}, expected ROS messages ('cdr', 'ros1')")
        samples, infos = sample_topics(self._bag)
        self._pair, notes = choose(samples, list(self._bag.topics), options.colour, options.depth)
        self.intrinsics, note = calibration(self._pair.colour, infos)
        self._clock, doubt = options.time, ""
        if not self._clock:
            colour, depth = self._pair.colour.topic, self._pair.depth.topic
            self._clock, doubt = clock(self._bag, colour, depth, self._header_time)
        for sentence in filter(None, (*notes, note, doubt)):
            self.warn(f"{self.name}: {sentence}")

    @staticmethod
    def _header_time(message: BagMessage) -> float | None:
        try:
            return ros.read(message.kind, message.data, message.ros1).stamp
        except DataError:
            return None

    def _all(self, position: float) -> Generator[Frame, None, None]:
        since = self._span.at(position) if self._span is not None and position else 0
        pairer: Pairer[Picture] = Pairer(self._max_skew)
        self._last = float("-inf")
        for number, (colour, depth) in enumerate(self._pairs(pairer, max(0, since - EARLIER_NS))):
            frame = self._frame(colour, depth, number) if colour.log_time >= since else None
            if frame is not None:
                share = self._span.position(colour.log_time) if self._span is not None else None
                yield replace(frame, position=share)
        self.sum_up(pairer.unpaired)

    def _pairs(self, pairer: Pairer[Picture], since: int) -> Generator[tuple[Picture, Picture], None, None]:
        colour, depth = self._pair.colour.topic, self._pair.depth.topic
        read = 0
        for message in self._bag.messages({colour, depth}, since):
            self._pass_on(read)
            try:
                content: Any = ros.read(message.kind, message.data, message.ros1)
            except DataError as error:
                self.leave_out(f"{message.topic}: {error}")
                continue
            read += 1
            stamp = message.log_time / 1e9 if self._clock == "log" else content.stamp
            add = pairer.colour if message.topic == colour else pairer.depth
            yield from add(stamp, Picture(stamp, message.log_time, content))
        self._pass_on(read)
        if not self._bag.closed:
            self.warn(f"{self.name}: cut short: the recorder did not close it; {read} images read")
        yield from pairer.flush()

    def _pass_on(self, read: int) -> None:
        """Warn about the problems that the bag's reader met up to this message."""
        for sentence in self._bag.problems:
            self.warn(f"{self.name}: corrupt after {read} images: {sentence}", key=sentence)

    def _frame(self, colour: Picture, depth: Picture, number: int) -> Frame | None:
        try:
            rgb = pix.pixels(colour.content, grey=self._pair.colour.kind == "grey")
            raw = pix.pixels(depth.content)
            if rgb.ndim != 3:
                raise DataError("a depth image on the colour topic")
            raw, note = aligned(raw, rgb.shape[:2])
        except DataError as error:
            self.leave_out(f"at {colour.stamp:.3f} s: {error}")
            return None
        if note:
            self.warn(f"{self.name}: {note}")
        if colour.stamp < self._last:
            self.warn(f"{self.name}: time goes back at {colour.stamp:.3f} s; the order of the file is kept", key="back")
        self._last = colour.stamp
        if raw.dtype == np.float32:
            self.depth_scale = None
        return Frame(rgb, to_metres(raw, self._rule), colour.stamp, depth.stamp, number)

    def close(self) -> None:
        """Close the bag, and end the generator that reads it."""
        super().close()
        self._bag.close()


def open_source(target: str, query: Mapping[str, Any]) -> BagCamera:
    """``target``: a ``.bag``, ``.mcap`` or ``.db3`` file, or the folder of a bag."""
    path = Path(target)
    if path.suffix == ".db3" and (path.parent / "metadata.yaml").is_file():
        path = path.parent
    return BagCamera(path, opts.parse(Options, query, f"rosbag:{target}"))
