"""The three ROS 2 messages a recording is made of, as CDR bytes: Image, CameraInfo, String. No ROS needed.

CDR, little endian: four bytes of header, then every value aligned to its own size, counted from after the header.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.cameras.base import Intrinsics

# The topics of a recording (docs/recording.md).
COLOUR, DEPTH, NIR, INFO = (
    "/camera/color/image",
    "/camera/depth/image",
    "/camera/nir/image",
    "/camera/color/camera_info",
)
FRAME, OUTPUT = "/mutualformer/frame", "/mutualformer/output/"

HEADER = b"\x00\x01\x00\x00"

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
    "sensor_msgs/msg/Image": "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n"
    "uint8 is_bigendian\nuint32 step\nuint8[] data" + _HEADER_TEXT,
    "sensor_msgs/msg/CameraInfo": "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n"
    "float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\n"
    "sensor_msgs/RegionOfInterest roi" + _HEADER_TEXT + "=" * 80 + "\nMSG: sensor_msgs/RegionOfInterest\n"
    "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    "std_msgs/msg/String": "string data",
}
ENCODINGS: dict[str, tuple[str, int]] = {
    "rgb8": ("u1", 3),
    "bgr8": ("u1", 3),
    "rgba8": ("u1", 4),
    "bgra8": ("u1", 4),
    "mono8": ("u1", 1),
    "8UC1": ("u1", 1),
    "16UC1": ("u2", 1),
    "mono16": ("u2", 1),
    "32FC1": ("f4", 1),
}


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
        data = value.encode() + b"\x00"
        return self.add("I", len(data)).raw(data)

    def raw(self, data: bytes | memoryview) -> Writer:
        self._parts.append(data)
        self._size += len(data)
        return self

    def header(self, stamp: float, frame_id: str) -> Writer:
        """``stamp``: seconds ≥ 0."""
        seconds = math.floor(stamp)
        nanoseconds = min(round((stamp - seconds) * 1e9), 999_999_999)
        return self.add("i", seconds).add("I", nanoseconds).text(frame_id)

    def done(self) -> list[bytes | memoryview]:
        """The message in pieces; pixels are not copied."""
        return [HEADER, *self._parts]


class Reader:
    """Takes CDR values in the order :class:`Writer` adds them. Raises ValueError where the bytes end too soon."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != HEADER:
            raise ValueError("not little-endian CDR")
        self._data, self._at = memoryview(data)[4:], 0

    def take(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        width = struct.calcsize(kind)
        self._at += -self._at % width
        return struct.unpack(f"<{count}{kind}", self.raw(count * width))

    def text(self) -> str:
        return bytes(self.raw(self.take("I")[0])[:-1]).decode()

    def raw(self, size: int) -> memoryview:
        if self._at + size > len(self._data):
            raise ValueError("message ends too soon")
        self._at += size
        return self._data[self._at - size : self._at]

    def header(self) -> float:
        seconds, nanoseconds = self.take("i")[0], self.take("I")[0]
        self.text()
        return float(seconds + nanoseconds * 1e-9)


def write_image(array: NDArray[Any], encoding: str, stamp: float, frame_id: str) -> list[bytes | memoryview]:
    """``array`` (H, W) or (H, W, C) of the dtype ``encoding`` stands for."""
    kind, channels = ENCODINGS[encoding]
    image = np.ascontiguousarray(array, np.dtype("<" + kind))
    height, width = image.shape[:2]
    message = Writer().header(stamp, frame_id).add("I", height, width).text(encoding)
    message.add("B", 0).add("I", width * channels * image.itemsize).add("I", image.nbytes)
    return message.raw(image.data.cast("B")).done()


def read_image(data: bytes) -> tuple[NDArray[Any], str, float]:
    """CDR → (array, encoding, stamp in seconds)."""
    message = Reader(data)
    stamp = message.header()
    height, width = message.take("I", 2)
    encoding = message.text()
    big, step, size = message.take("B")[0], message.take("I")[0], message.take("I")[0]
    return unpack(message.raw(size), encoding, height, width, step, bool(big)), encoding, stamp


def unpack(
    data: bytes | memoryview | NDArray[np.uint8], encoding: str, height: int, width: int, step: int, big: bool
) -> NDArray[Any]:
    """Pixels of a ROS image, rows possibly padded → (H, W) or (H, W, C), native byte order, its own memory."""
    if encoding not in ENCODINGS:
        raise ValueError(f"image encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
    kind, channels = ENCODINGS[encoding]
    stored = np.dtype((">" if big else "<") + kind)
    rows = np.frombuffer(data, np.uint8, count=height * step).reshape(height, step)
    pixels = np.ascontiguousarray(rows[:, : width * channels * stored.itemsize]).view(stored)
    image = pixels.reshape((height, width) if channels == 1 else (height, width, channels))
    return image.astype(stored.newbyteorder("="))


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
    return Writer().text(value).done()


def read_text(data: bytes) -> str:
    return Reader(data).text()
