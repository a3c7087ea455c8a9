"""The ROS messages that are read and written here, as bytes: Image, CompressedImage, CameraInfo, String. No ROS needed.

Their definitions are fixed: nothing is ever generated from the definitions a file brings along. ROS 2 writes CDR (four
bytes of header, then every value aligned to its own size, counted from the end of the header), ROS 1 the same without
header and alignment, its strings without a closing zero, and a sequence number before the time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import DataError
from mutualformer.runtime.sources.frame import Intrinsics

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO_TYPE, STRING = "sensor_msgs/msg/CameraInfo", "std_msgs/msg/String"

HEADER = b"\x00\x01\x00\x00"
# ROS keeps seconds in 31 bits; the exact time of a frame is in its JSON.
MOST_SECONDS = (1 << 31) - 1

_HEADER_TEXT = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
# Definitions travel in the file, so that any reader can decode it.
SCHEMAS = {
    IMAGE: "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n"
    "uint8 is_bigendian\nuint32 step\nuint8[] data" + _HEADER_TEXT,
    INFO_TYPE: "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n"
    "float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\n"
    "sensor_msgs/RegionOfInterest roi" + _HEADER_TEXT + "=" * 80 + "\nMSG: sensor_msgs/RegionOfInterest\n"
    "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    COMPRESSED: "std_msgs/Header header\nstring format\nuint8[] data" + _HEADER_TEXT,
    STRING: "string data",
}


@dataclass(frozen=True)
class Image:
    """``stamp``: seconds. ``step``: bytes a row. ``data``: rows from the top, possibly padded."""

    stamp: float
    frame_id: str
    height: int
    width: int
    encoding: str
    big: bool
    step: int
    data: memoryview


@dataclass(frozen=True)
class CompressedImage:
    """``format``: ``jpeg``, ``rgb8; jpeg compressed bgr8``, ``16UC1; compressedDepth png`` …"""

    stamp: float
    frame_id: str
    format: str
    data: memoryview


@dataclass(frozen=True)
class CameraInfo:
    """sensor_msgs/CameraInfo: time in seconds, frame and lens."""

    stamp: float
    frame_id: str
    lens: Intrinsics


class MessageReader:
    """The values of one message, laid out as ROS 2 does or ``ros1``; every step is checked against what is there.

    Raises DataError where bytes disagree.
    """

    def __init__(self, data: bytes | memoryview, ros1: bool = False) -> None:
        self._data, self._at, self._ros1, self._order = memoryview(data), 0, ros1, "<"
        if not ros1:
            if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1):
                raise DataError("not a CDR message")
            self._data, self._order = self._data[4:], "<" if data[1] else ">"

    def take(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """``count`` values of one struct letter, for example ``I`` or ``d``. Raises DataError."""
        width = struct.calcsize(f"<{kind}")
        if not self._ros1:
            self._at += -self._at % width
        return struct.unpack(f"{self._order}{count}{kind}", self.raw(count * width))

    def one(self, kind: str) -> Any:
        """One value of struct letter ``kind``. Raises DataError where too few bytes are left."""
        return self.take(kind)[0]

    def raw(self, size: int) -> memoryview:
        """The next ``size`` bytes, not copied. Raises DataError."""
        left = max(0, len(self._data) - self._at)
        if size > left:
            raise DataError(f"{size} bytes expected where {left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        """A string: its length, UTF-8 and, in ROS 2, a closing zero byte. Raises DataError."""
        data = bytes(self.raw(self.one("I")))
        return (data if self._ros1 else data[:-1]).decode("utf-8", "replace")

    def header(self) -> tuple[float, str]:
        """(seconds, frame_id)."""
        if self._ros1:
            _, seconds, nanoseconds = self.take("I", 3)
        else:
            seconds, nanoseconds = self.one("i"), self.one("I")
        return float(seconds + nanoseconds * 1e-9), self.text()

    def image(self) -> Image:
        """The rest as sensor_msgs/Image; pixels stay a view of the message. Raises DataError."""
        stamp, frame_id = self.header()
        height, width = self.take("I", 2)
        encoding = self.text()
        big, step = bool(self.one("B")), self.one("I")
        return Image(stamp, frame_id, height, width, encoding, big, step, self.raw(self.one("I")))

    def compressed(self) -> CompressedImage:
        """The rest as sensor_msgs/CompressedImage; data stay a view of the message. Raises DataError."""
        stamp, frame_id = self.header()
        return CompressedImage(stamp, frame_id, self.text(), self.raw(self.one("I")))

    def camera_info(self) -> CameraInfo:
        """The rest as sensor_msgs/CameraInfo up to K. Raises DataError, also for NaN in it."""
        stamp, frame_id = self.header()
        height, width = self.take("I", 2)
        model, count = self.text(), self.one("I")
        coefficients = self.take("d", min(count, len(self._data)))  # take refuses more than the message can hold
        k = self.take("d", 9)
        if not all(map(math.isfinite, (*coefficients, *k))):
            raise DataError("a calibration that is not a number")
        lens = Intrinsics(width, height, k[0], k[4], k[2], k[5], model, tuple(coefficients))
        return CameraInfo(stamp, frame_id, lens)


READERS: dict[str, Callable[[MessageReader], Image | CompressedImage | CameraInfo]] = {
    IMAGE: MessageReader.image,
    COMPRESSED: MessageReader.compressed,
    INFO_TYPE: MessageReader.camera_info,
}


def read(kind: str, data: bytes | memoryview, ros1: bool = False) -> Image | CompressedImage | CameraInfo:
    """A message of one of the types in :data:`READERS`. Raises DataError."""
    if kind not in READERS:
        raise DataError(f"a message of type {kind[:80]!r}")
    return READERS[kind](MessageReader(data, ros1))


def read_text(data: bytes | memoryview) -> str:
    """The text of a ROS 2 String."""
    return MessageReader(data).text()


class Writer:
    """Appends CDR values."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._size = 0

    def add(self, kind: str, *values: Any) -> Writer:
        """``kind``: struct letter of one value, for example ``I`` or ``d``; it is aligned to its size."""
        width = struct.calcsize(kind)
        self.raw(b"\x00" * (-self._size % width))
        return self.raw(struct.pack(f"<{len(values)}{kind}", *values))

    def text(self, value: str) -> Writer:
        """Append a string: its length, UTF-8, a zero byte. Returns the writer itself."""
        data = value.encode("utf-8", "replace") + b"\x00"
        return self.add("I", len(data)).raw(data)

    def raw(self, data: bytes | memoryview) -> Writer:
        """Append ``data`` as it is, not copied, not aligned. Returns the writer itself."""
        self._parts.append(data)
        self._size += len(data)
        return self

    def header(self, stamp: float, frame_id: str) -> Writer:
        """``stamp``: seconds; what ROS cannot say (negative, no number, after 2038) becomes the nearest it can."""
        stamp = min(max(0.0, stamp), float(MOST_SECONDS)) if math.isfinite(stamp) else 0.0
        seconds = math.floor(stamp)
        nanoseconds = min(round((stamp - seconds) * 1e9), 999_999_999)
        return self.add("i", seconds).add("I", nanoseconds).text(frame_id)

    def done(self) -> list[bytes | memoryview]:
        """The message in pieces; pixels are not copied."""
        return [HEADER, *self._parts]


def write_image(array: NDArray[Any], encoding: str, stamp: float, frame_id: str) -> list[bytes | memoryview]:
    """``array`` (H, W) or (H, W, C), of the little-endian type that ``encoding`` stands for."""
    image = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    height, width = image.shape[:2]
    message = Writer().header(stamp, frame_id).add("I", height, width).text(encoding)
    message.add("B", 0).add("I", image.nbytes // height if height else 0).add("I", image.nbytes)
    return message.raw(image.data.cast("B")).done()


def write_compressed(data: bytes, form: str, stamp: float, frame_id: str) -> list[bytes | memoryview]:
    """``data``: a file's bytes. ``form``: its format, as of :class:`CompressedImage`."""
    return Writer().header(stamp, frame_id).text(form).add("I", len(data)).raw(data).done()


def write_camera_info(lens: Intrinsics, stamp: float, frame_id: str) -> list[bytes | memoryview]:
    """Pinhole calibration; rectification is the identity."""
    k = (lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0)
    p = (lens.fx, 0.0, lens.cx, 0.0, 0.0, lens.fy, lens.cy, 0.0, 0.0, 0.0, 1.0, 0.0)
    message = Writer().header(stamp, frame_id).add("I", lens.height, lens.width).text(lens.model)
    message.add("I", len(lens.coefficients))
    if lens.coefficients:
        message.add("d", *lens.coefficients)
    message.add("d", *k).add("d", 1, 0, 0, 0, 1, 0, 0, 0, 1).add("d", *p)
    return message.add("I", 0, 0, 0, 0, 0, 0).add("B", 0).done()


def write_text(value: str) -> list[bytes | memoryview]:
    """std_msgs/String as CDR."""
    return Writer().text(value).done()
