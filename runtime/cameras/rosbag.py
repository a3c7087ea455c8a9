"""ROS 1 and ROS 2 bags through ``rosbags``, no ROS installed: image topics are found by what is in them.

Colour: rgb8, bgr8, rgba8, bgra8 or compressed JPEG/PNG. Depth: 16UC1/mono16 (``depth_scale`` metres per unit, ROS says
0.001), 32FC1 metres, or compressedDepth PNG. Where several topics fit, aligned depth wins, then the alphabet; name one
with ``colour=/topic`` and ``depth=/topic``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import BaseCamera, CameraError, Frame, Intrinsics, metres
from mutualformer.runtime.cameras.pairing import Pairer
from mutualformer.runtime.recording import ros_messages as ros

IMAGE, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
COLOUR_ENCODINGS, DEPTH_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "8UC3"), ("16UC1", "mono16", "32FC1")
# compressedDepth puts its own header of this many bytes before the PNG.
DEPTH_HEADER = 12


@dataclass(frozen=True)
class Options:
    """``max_skew``: seconds between paired colour and depth."""

    colour: str = ""
    depth: str = ""
    max_skew: float = 0.03
    depth_scale: float = 0.001


def kind_of(message: Any) -> str:
    """``colour``, ``depth`` or nothing, for an Image or CompressedImage message."""
    name = getattr(message, "encoding", None)
    if name is None:
        if "compressedDepth" in message.format:
            return "depth"
        name = message.format.split(";")[0].strip()
        return "colour" if name in (*COLOUR_ENCODINGS, "jpeg", "jpg", "png") else ""
    return "colour" if name in COLOUR_ENCODINGS else "depth" if name in DEPTH_ENCODINGS else ""


def pixels(message: Any) -> NDArray[Any]:
    """Image or CompressedImage → RGB (H, W, 3) uint8, or depth (H, W) uint16 or float32. Raises ValueError."""
    if hasattr(message, "encoding"):
        encoding = "bgr8" if message.encoding == "8UC3" else message.encoding
        image = ros.unpack(
            message.data, encoding, message.height, message.width, message.step, bool(message.is_bigendian)
        )
        if encoding.startswith("bgr"):
            image = image[..., [2, 1, 0]]
        return np.ascontiguousarray(image[..., :3]) if image.ndim == 3 else image
    depth = "compressedDepth" in message.format
    data = np.asarray(message.data, np.uint8)[DEPTH_HEADER if depth else 0 :]
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_UNCHANGED if depth else cv2.IMREAD_COLOR)
    if decoded is None or (depth and decoded.dtype != np.uint16):
        raise ValueError(f"a compressed image ({message.format!r}) cannot be decoded")
    return np.asarray(decoded if depth else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def stamp_of(message: Any) -> float:
    """Header time in seconds."""
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


class BagCamera(BaseCamera):
    """Reads both topics in the bag's order and pairs them by header time."""

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(f"rosbag:{path}", live=False, depth_scale=options.depth_scale)
        if not path.exists():
            raise CameraError(f"rosbag:{path}: no such bag")
        try:
            # Old ROS 2 bags carry no message definitions; these have not changed since Foxy.
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_FOXY))
            self._reader.open()
            self._open = True
        except (AnyReaderError, OSError, ValueError, AssertionError) as error:
            raise CameraError(
                f"rosbag:{path}: not a readable ROS bag ({error}); one that was cut short needs `rosbag reindex` or "
                "`ros2 bag reindex` first"
            ) from error
        try:
            self._colour, self._depth = self._choose(options)
            self.intrinsics = self._calibration()
        except CameraError:
            self._close_reader()
            raise
        self._pairer: Pairer[Any] = Pairer(options.max_skew)
        self._frames = self._all()

    def _first(self, connection: Any) -> Any:
        for _, _, raw in self._reader.messages(connections=[connection]):
            return self._reader.deserialize(raw, connection.msgtype)
        return None

    def _choose(self, options: Options) -> tuple[Any, Any]:
        found: dict[str, list[Any]] = {"colour": [], "depth": []}
        for connection in self._reader.connections:
            if connection.msgtype in (IMAGE, COMPRESSED):
                message = self._first(connection)
                if message is not None and kind_of(message):
                    found[kind_of(message)].append(connection)
        topics = sorted(connection.topic for connection in self._reader.connections)
        chosen = []
        for kind, wish in (("colour", options.colour), ("depth", options.depth)):
            fitting = [connection for connection in found[kind] if not wish or connection.topic == wish]
            if not fitting:
                what = f"topic {wish!r} with {kind} images" if wish else f"{kind} image topic"
                raise CameraError(f"{self.name}: no {what}; the bag has {', '.join(topics) or 'no topics'}")
            fitting.sort(key=lambda c: ("aligned" not in c.topic and "registered" not in c.topic, c.topic))
            chosen.append(fitting[0])
        return chosen[0], chosen[1]

    def _calibration(self) -> Intrinsics | None:
        """The CameraInfo nearest to the colour topic by name."""
        folder = self._colour.topic.rsplit("/", 1)[0]
        for connection in self._reader.connections:
            if connection.msgtype == INFO and connection.topic.startswith(folder):
                info = self._first(connection)
                if info is not None:
                    k = info.K if hasattr(info, "K") else info.k
                    d = info.D if hasattr(info, "D") else info.d
                    model = info.distortion_model
                    return Intrinsics(
                        info.width, info.height, float(k[0]), float(k[4]), float(k[2]), float(k[5]), model,
                        tuple(float(value) for value in d),
                    )  # fmt: skip
        return None

    def _all(self) -> Generator[Frame, None, None]:
        try:
            for number, (colour, depth) in enumerate(self._pairs()):
                yield self._frame(colour, depth, number)
        finally:
            self._close_reader()
        if self._pairer.unpaired:
            self.warn(f"{self.name}: {self._pairer.unpaired} colour images have no depth in time, left out")

    def _pairs(self) -> Generator[tuple[Any, Any], None, None]:
        read = 0
        try:
            for connection, _, raw in self._reader.messages(connections=[self._colour, self._depth]):
                message = self._reader.deserialize(raw, connection.msgtype)
                add = self._pairer.colour if connection is self._colour else self._pairer.depth
                read += 1
                yield from add(stamp_of(message), message)
        except Exception as error:  # the bag library raises whatever a damaged file makes it stumble over
            self.warn(f"{self.name}: damaged after {read} images ({error or type(error).__name__})")
        yield from self._pairer.flush()

    def _frame(self, colour: Any, depth: Any, number: int) -> Frame:
        began = time.perf_counter()
        rgb, raw = pixels(colour), pixels(depth)
        if rgb.shape[:2] != raw.shape:
            raise CameraError(
                f"{self.name}: {self._colour.topic} is {rgb.shape[:2]} and {self._depth.topic} {raw.shape}, expected "
                "depth aligned to colour; choose an aligned topic with ?depth=/topic"
            )
        if raw.dtype == np.float32:
            self.depth_scale = None
        frame = Frame(rgb, metres(raw, self.depth_scale), stamp_of(colour), stamp_of(depth), number)
        self.busy_s = time.perf_counter() - began
        return frame

    def read(self, timeout: float = 1.0) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        with contextlib.suppress(ValueError):  # busy in another thread, where it ends by itself
            self._frames.close()
        self._close_reader()

    def _close_reader(self) -> None:
        if self._open:
            self._open = False
            self._reader.close()


def open_source(target: str, given: Mapping[str, Any]) -> BagCamera:
    """``target``: a ``.bag`` or ``.mcap`` file, a ``.db3`` file or the folder of a ROS 2 bag."""
    path = Path(target)
    if path.suffix == ".db3" and (path.parent / "metadata.yaml").is_file():
        path = path.parent
    return BagCamera(path, opts.parse(Options, given, f"rosbag:{target}"))
