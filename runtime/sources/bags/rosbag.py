"""ROS 1 and ROS 2 bags, no ROS installed: image topics are found by what is in them, colour and depth by what fits.

Depth of 16 bits is millimetres by ROS convention, ``depth_scale`` (metres a unit) says otherwise; float depth is metres
unless it is given. Which topics fit together is decided in :mod:`topic_choice`; ``colour=/topic`` and ``depth=/topic``
name them. A stranger's file is read in a child process.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.bags import ros_images as pix
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.bag_times import CLOCKS, TimeError, clock
from mutualformer.runtime.sources.bags.containers import Bag, BagError, BagMessage
from mutualformer.runtime.sources.bags.open_bag import open_bag
from mutualformer.runtime.sources.bags.pairing import Pairer
from mutualformer.runtime.sources.bags.topic_choice import Choice, TopicError, choose
from mutualformer.runtime.sources.bags.topic_samples import IMAGE_TYPES, calibration, sample_topics
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.depth import DepthRule, aligned, parse_holes, to_metres
from mutualformer.runtime.sources.frame import DataError, Frame
from mutualformer.runtime.sources.pacing import PlayedCamera

ROS_SCALE = 0.001


@dataclass(frozen=True)
class Options:
    """``max_skew``: seconds between paired colour and depth. ``depth_scale``: metres per unit, 0 = not given.
    ``holes``: further values of no measurement, or none, as for files.

    ``time``: pair by the ``header`` times or by the times of recording, ``log``; "" = headers where they can be true.
    """

    colour: str = ""
    depth: str = ""
    max_skew: float = 0.03
    depth_scale: float = 0.0
    holes: str = ""
    time: str = ""


@dataclass(frozen=True)
class Picture:
    """``stamp``: seconds, of the clock that the two topics are paired by."""

    stamp: float
    content: ros.Image | ros.CompressedImage


class BagCamera(PlayedCamera):
    """Reads both topics in the bag's order and pairs them by header time; images that cannot be read are left out."""

    def __init__(self, path: Path, options: Options) -> None:
        name = f"rosbag:{path}"
        self._option_scale = opts.depth_scale(options.depth_scale, name)
        super().__init__(name, live=False, depth_scale=self._option_scale or ROS_SCALE)
        self._rule = DepthRule(self._option_scale or None, *parse_holes(options.holes))
        if not path.exists():
            raise CameraError(f"{self.name}: no such bag")
        try:
            self._bag: Bag = open_bag(path)
        except BagError as error:
            raise CameraError(f"{self.name}: not a readable ROS bag ({error})") from error
        try:
            self._choice = self._choose(options)
            self._clock = self._time(options.time)
        except BaseException:
            self._bag.close()
            raise
        self._pairer: Pairer[Picture] = Pairer(options.max_skew)
        self._last = float("-inf")
        self.play(self._all())

    def _choose(self, options: Options) -> Choice:
        if any(topic.startswith("/device_0/") for topic in self._bag.topics):
            raise CameraError(
                f"{self.name}: is a RealSense recording, whose depth is neither aligned nor in millimetres; "
                "open it by its path alone"
            )
        self._refuse_foreign()
        samples, infos = sample_topics(self._bag)
        try:
            choice = choose(samples, list(self._bag.topics), options.colour, options.depth)
        except TopicError as error:
            damage = f" ({self._bag.damage[0]})" if self._bag.damage else ""
            raise CameraError(f"{self.name}: {error}{damage}") from error
        self.intrinsics, self._info_topic, note = calibration(choice, infos)
        for sentence in (*choice.notes, *([note] if note else [])):
            self.warn(f"{self.name}: {sentence}")
        return choice

    def _refuse_foreign(self) -> None:
        """Say what is in an MCAP file that holds no ROS messages."""
        encodings: set[str] = getattr(self._bag, "encodings", set())
        if encodings and not encodings & {"cdr", "ros1"}:
            raise CameraError(
                f"{self.name}: its messages are {', '.join(map(repr, sorted(encodings)))}, expected ROS messages "
                "('cdr', 'ros1')"
            )

    def _all(self) -> Generator[Frame, None, None]:
        try:
            for number, (colour, depth) in enumerate(self._pairs()):
                frame = self._frame(colour, depth, number)
                if frame is not None:
                    yield frame
        finally:
            self._bag.close()
        if self._pairer.unpaired:
            self.warn(f"{self.name}: {self._pairer.unpaired} colour images have no depth in time, left out")
        self.sum_up()

    def _time(self, wish: str) -> str:
        if wish not in CLOCKS:
            raise CameraError(f"{self.name}: time={wish} is no clock, expected header or log")
        try:
            name, note = clock(self._bag, self._choice.colour.topic, self._choice.depth.topic, self._header_time, wish)
        except TimeError as error:
            raise CameraError(f"{self.name}: {error}") from error
        if note:
            self.warn(f"{self.name}: {note}")
        return name

    @staticmethod
    def _header_time(message: BagMessage) -> float | None:
        try:
            return ros.read(message.kind, message.data, message.ros1).stamp
        except ros.MessageError:
            return None

    def _pairs(self) -> Generator[tuple[Picture, Picture], None, None]:
        colour, depth = self._choice.colour.topic, self._choice.depth.topic
        topics = {colour, depth, *filter(None, [self._info_topic])}
        read = 0
        for message in self._bag.messages(topics):
            self._pass_on(read)
            if message.topic == self._info_topic:
                self._compare_lens(message)
                continue
            content = self._content(message)
            if content is not None:
                read += 1
                stamp = message.log_time / 1e9 if self._clock == "log" else content.stamp
                add = self._pairer.colour if message.topic == colour else self._pairer.depth
                yield from add(stamp, Picture(stamp, content))
        self._pass_on(read)
        if not self._bag.closed:
            self.warn(f"{self.name}: cut short, it was not closed; {read} images read")
        yield from self._pairer.flush()

    def _compare_lens(self, message: BagMessage) -> None:
        """Say once that the calibration changes: frames have one, the first."""
        try:
            info = ros.read(message.kind, message.data, message.ros1)
        except ros.MessageError:
            return
        if isinstance(info, ros.CameraInfo) and info.lens != self.intrinsics:
            self.warn(f"{self.name}: {message.topic} changes at {info.stamp:.3f} s; the first is kept", key="lens")

    def _pass_on(self, read: int) -> None:
        for sentence in self._bag.damage:
            self.warn(f"{self.name}: damaged after {read} images: {sentence}", key=sentence)

    def _content(self, message: BagMessage) -> ros.Image | ros.CompressedImage | None:
        if message.kind not in IMAGE_TYPES:
            return None
        try:
            content = ros.read(message.kind, message.data, message.ros1)
        except ros.MessageError as error:
            self.leave_out(f"{message.topic}: {error}")
            return None
        assert isinstance(content, (ros.Image, ros.CompressedImage))
        return content

    def _frame(self, colour: Picture, depth: Picture, number: int) -> Frame | None:
        try:
            rgb = pix.pixels(colour.content, grey=self._choice.colour.kind == "grey")
            raw = pix.pixels(depth.content)
            if rgb.ndim != 3:
                raise pix.PixelError("a depth image on the colour topic")
            raw, note = aligned(raw, rgb.shape[:2])
        except (pix.PixelError, DataError) as error:
            self.leave_out(f"at {colour.stamp:.3f} s: {error}")
            return None
        if note:
            self.warn(f"{self.name}: {note}")
        if colour.stamp < self._last:
            self.warn(f"{self.name}: time goes back at {colour.stamp:.3f} s; the order of the file is kept", key="back")
        self._last = colour.stamp
        return Frame(rgb, self._metres(raw), colour.stamp, depth.stamp, number)

    def _metres(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        if raw.dtype == np.float32:
            self.depth_scale = None
        return to_metres(raw, self._rule)

    def close(self) -> None:
        """Close the bag, and end the generator that reads it."""
        super().close()
        self._bag.close()


def open_here(target: str, query: Mapping[str, Any]) -> BagCamera:
    """As :func:`open_source`, in this process."""
    path = Path(target)
    if path.suffix == ".db3" and (path.parent / "metadata.yaml").is_file():
        path = path.parent
    return BagCamera(path, opts.parse(Options, query, f"rosbag:{target}"))


def open_source(target: str, query: Mapping[str, Any]) -> BaseCamera:
    """``target``: a ``.bag``, ``.mcap`` or ``.db3`` file, or the folder of a bag."""
    return ChildCamera("bags.rosbag", target, query, f"rosbag:{target}")
