"""Pixels of ROS images: which encodings are colour and which depth, and how each becomes RGB or units of depth."""

from __future__ import annotations

import math
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import pictures as files
from mutualformer.runtime.sources.bags import rvl
from mutualformer.runtime.sources.bags.ros_messages import CompressedImage, Image
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import DataError

# Encoding → numpy type of one value, values a pixel, OpenCV's conversion to RGB (-1: it is RGB already).
COLOUR: dict[str, tuple[str, int, int]] = {
    "rgb8": ("u1", 3, -1),
    "bgr8": ("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC3": ("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": ("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": ("u1", 4, cv2.COLOR_BGRA2RGB),
    "8UC4": ("u1", 4, cv2.COLOR_BGRA2RGB),
    "rgb16": ("u2", 3, -1),
    "bgr16": ("u2", 3, cv2.COLOR_BGR2RGB),
    "16UC3": ("u2", 3, cv2.COLOR_BGR2RGB),
    "rgba16": ("u2", 4, cv2.COLOR_RGBA2RGB),
    "bgra16": ("u2", 4, cv2.COLOR_BGRA2RGB),
    "mono8": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "yuv422": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": ("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": ("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": ("u1", 1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": ("u1", 1, cv2.COLOR_YUV2RGB_NV21),
} | {
    f"bayer_{pattern.lower()}{bits}": (f"u{bits // 8}", 1, getattr(cv2, f"COLOR_Bayer{pattern}2RGB"))
    for pattern in ("RGGB", "BGGR", "GBRG", "GRBG")
    for bits in (8, 16)
}
UNITS = {"16UC1": "u2", "16SC1": "i2", "mono16": "u2"}
DEPTH = {**UNITS, "32FC1": "f4", "64FC1": "f8"}
GREY = ("mono8", "8UC1")
PLANAR = ("nv12", "nv21")  # a plane of luma, then chroma at half its height
_CASELESS = {name.lower(): name for name in (*COLOUR, *DEPTH)}  # drivers write them in either case
# compressedDepth's own header: a number for the kind, and the A and B that undo inverse depth.
DEPTH_HEADER = struct.Struct("<iff")


def encoding_of(message: Image) -> str:
    """Its encoding as :data:`COLOUR` and :data:`DEPTH` spell it; unchanged where they do not have it."""
    return _CASELESS.get(message.encoding.strip().lower(), message.encoding)


def packed_depth(name: str) -> bool:
    """Whether a CompressedImage of this ``format`` is image_transport's compressedDepth, with its own header."""
    return "compresseddepth" in name.lower().replace(" ", "")


def kind_of(message: Image | CompressedImage) -> tuple[str, str]:
    """(kind, reason): ``colour``, ``grey`` or ``depth``, or "" and why it is none of them."""
    if isinstance(message, Image):
        name, lossless, refused = encoding_of(message), True, f"its encoding {message.encoding!r}"
        known = name in COLOUR
    else:
        if packed_depth(message.format):
            return "depth", ""
        name, _, how = (part.strip() for part in message.format.partition(";"))
        lossless, refused = "png" in how.lower(), f"its format {message.format!r}"
        known = name in COLOUR or name.lower() in ("jpeg", "jpg", "png", "webp", "tiff", "")
    if name in DEPTH:
        return ("depth", "") if lossless else ("", f"{refused} stores depth in a way that is not lossless")
    if known:
        return "grey" if name in GREY else "colour", ""
    return "", f"{refused} is not one of {', '.join((*COLOUR, *DEPTH))}"


def pixels(message: Image | CompressedImage, grey: bool = False) -> NDArray[Any]:
    """RGB (H, W, 3) uint8, or depth (H, W): integer units, or float32 metres, of which NaN and such are holes.

    ``grey``: 16 bits of grey are a picture and no depth. Raises DataError.
    """
    kind, reason = kind_of(message)
    if not kind:
        raise DataError(reason)
    try:
        if isinstance(message, Image):
            return _raw(message, grey)
        return _packed_depth(message) if kind == "depth" else files.decode(message.data, "a compressed image", "colour")
    except cv2.error as error:
        raise DataError(str(error)) from error


def unpack(message: Image) -> NDArray[Any]:
    """The values as stored, rows possibly padded → (H, W) or (H, W, C), native byte order, its own memory.

    A step of 0 is taken as rows without padding. Raises DataError.
    """
    name = encoding_of(message)
    kind, channels, _ = COLOUR[name] if name in COLOUR else (DEPTH[name], 1, -1)
    stored = np.dtype((">" if message.big else "<") + kind)
    height, width, what = message.height, message.width, f"an image of {message.width}×{message.height} pixels"
    if not 0 < height * width <= MAX_PIXELS or (name in PLANAR and (height % 2 or width % 2)):
        raise DataError(f"{what}, expected 1 to 64 million, and even sides for {', '.join(PLANAR)}")
    if name in PLANAR:
        height = height * 3 // 2
    row = width * channels * stored.itemsize
    step = message.step or row
    if step < row or len(message.data) < step * height:
        raise DataError(
            f"{what}, {message.encoding}, with {len(message.data)} bytes in rows of {message.step}, expected at least "
            f"{row} a row"
        )
    rows = np.frombuffer(message.data, np.uint8, count=height * step).reshape(height, -1)
    values = np.ascontiguousarray(rows[:, :row]).view(stored)
    image = values.reshape((height, width) if channels == 1 else (height, width, channels))
    return image.astype(stored.newbyteorder("="))


def _raw(message: Image, grey: bool) -> NDArray[Any]:
    name, image = encoding_of(message), unpack(message)
    if name in DEPTH and not (grey and name == "mono16"):
        with np.errstate(over="ignore"):  # beyond float32 lies infinity, a hole
            return image.astype(np.float32) if image.dtype.kind == "f" else image
    code = cv2.COLOR_GRAY2RGB if name in DEPTH else COLOUR[name][2]
    if code >= 0:
        image = cv2.cvtColor(image, code)
    return np.ascontiguousarray(files.eight_bits(image, f"{message.frame_id or 'colour'} ({name})"), np.uint8)


def _packed_depth(message: CompressedImage) -> NDArray[Any]:
    """PNG or RVL of depth: its units, or inverse depth after a header, converted by depth = A / (value − B)."""
    name, data, a, b = message.format.partition(";")[0].strip(), message.data, 0.0, 0.0
    if packed_depth(message.format):
        if len(data) <= DEPTH_HEADER.size:
            raise DataError("a compressedDepth image without data")
        _, a, b = DEPTH_HEADER.unpack_from(data)
        data = data[DEPTH_HEADER.size :]
    if packed_depth(message.format) and "rvl" in message.format.lower().partition(";")[2]:
        units: NDArray[Any] = rvl.decode(data, MAX_PIXELS)
    else:
        units = files.decode(data, "a compressed depth image", "stored")
    if units.dtype != np.uint16 or units.ndim != 2:
        raise DataError(f"a compressed depth image of {units.dtype} {units.shape}, expected one channel of 16 bits")
    if name in UNITS or (name not in DEPTH and a == 0):
        return units
    if not (math.isfinite(a) and math.isfinite(b) and a > 0):
        raise DataError(f"a {message.format!r} image whose A is {a:g} and B {b:g}, expected depth = A / (value - B)")
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (units.astype(np.float32) - np.float32(b))
    depth[units == 0] = 0
    return np.asarray(depth)
