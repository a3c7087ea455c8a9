"""Pixels of ROS images: which encodings are colour and which depth, and how each becomes RGB or metres' raw values."""

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
from mutualformer.runtime.sources.describe import MAX_PIXELS, describe
from mutualformer.runtime.sources.frame import DataError

# numpy type of one value, values a pixel
LAYOUT: dict[str, tuple[str, int]] = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "8UC3": ("u1", 3), "8UC4": ("u1", 4),
    "rgb16": ("u2", 3), "bgr16": ("u2", 3), "16UC3": ("u2", 3), "rgba16": ("u2", 4), "bgra16": ("u2", 4),
    "mono8": ("u1", 1), "8UC1": ("u1", 1),
    "bayer_rggb8": ("u1", 1), "bayer_bggr8": ("u1", 1), "bayer_gbrg8": ("u1", 1), "bayer_grbg8": ("u1", 1),
    "bayer_rggb16": ("u2", 1), "bayer_bggr16": ("u2", 1), "bayer_gbrg16": ("u2", 1), "bayer_grbg16": ("u2", 1),
    "yuv422": ("u1", 2), "uyvy": ("u1", 2), "yuv422_yuy2": ("u1", 2), "yuyv": ("u1", 2),
    "16UC1": ("u2", 1), "16SC1": ("i2", 1), "mono16": ("u2", 1), "32FC1": ("f4", 1), "64FC1": ("f8", 1),
}  # fmt: skip
DEPTH = ("16UC1", "16SC1", "mono16", "32FC1", "64FC1")
GREY = ("mono8", "8UC1")
# Semi-planar: a plane of luma, then chroma at half its height.
PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
COLOUR = (*(name for name in LAYOUT if name not in DEPTH), *PLANAR)
TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB, "8UC3": cv2.COLOR_BGR2RGB, "bgra8": cv2.COLOR_BGRA2RGB, "8UC4": cv2.COLOR_BGRA2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB, "bgr16": cv2.COLOR_BGR2RGB, "16UC3": cv2.COLOR_BGR2RGB, "rgba16": cv2.COLOR_RGBA2RGB,
    "bgra16": cv2.COLOR_BGRA2RGB, "mono8": cv2.COLOR_GRAY2RGB, "8UC1": cv2.COLOR_GRAY2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY, "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2, "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "bayer_rggb8": cv2.COLOR_BayerRGGB2RGB, "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB, "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB,
    "bayer_rggb16": cv2.COLOR_BayerRGGB2RGB, "bayer_bggr16": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg16": cv2.COLOR_BayerGBRG2RGB, "bayer_grbg16": cv2.COLOR_BayerGRBG2RGB,
}  # fmt: skip
# Drivers write them in either case.
_CASELESS = {name.lower(): name for name in (*LAYOUT, *PLANAR)}
# compressedDepth's own header: a number for the kind, and the A and B that undo inverse depth.
DEPTH_HEADER = struct.Struct("<iff")


class PixelError(DataError):
    """An image that cannot be read: says what it is and what is expected."""


def encoding_of(message: Image) -> str:
    """Its encoding as :data:`LAYOUT` spells it; as it stands where that does not know it."""
    return _CASELESS.get(message.encoding.strip().lower(), message.encoding)


def packed_depth(name: str) -> bool:
    """Whether a CompressedImage of this ``format`` is image_transport's compressedDepth, with its own header."""
    return "compresseddepth" in name.lower().replace(" ", "")


def packed_size(message: CompressedImage, where: str) -> tuple[int, int]:
    """(H, W) that a compressed image declares, nothing decoded. Raises PixelError, DataError naming ``where``."""
    data = message.data
    if packed_depth(message.format):
        data = data[DEPTH_HEADER.size :]
        if _is_rvl(message.format):
            try:
                return rvl.image_size(data, MAX_PIXELS)
            except rvl.RvlError as error:
                raise PixelError(str(error)) from error
    head = describe(bytes(data), where)
    return head.height, head.width


def _is_rvl(name: str) -> bool:
    return "rvl" in name.lower().partition(";")[2]


def kind_of(message: Image | CompressedImage) -> tuple[str, str]:
    """(kind, reason): ``colour``, ``grey`` or ``depth``, or "" and why it is none of them."""
    if isinstance(message, Image):
        name = encoding_of(message)
        if name in DEPTH:
            return "depth", ""
        if name in COLOUR:
            return ("grey" if name in GREY else "colour"), ""
        return "", f"its encoding {message.encoding!r} is not one of {', '.join((*COLOUR, *DEPTH))}"
    stored, _, how = (part.strip() for part in message.format.partition(";"))
    if packed_depth(message.format):
        return "depth", ""
    if stored in DEPTH:
        return ("depth", "") if "png" in how.lower() else ("", f"its depth is stored as {how!r}, which is not lossless")
    if stored in GREY:
        return "grey", ""
    if stored.lower() in ("jpeg", "jpg", "png", "webp", "tiff", "") or stored in COLOUR:
        return "colour", ""
    return "", f"its format {message.format!r} is no picture that is read here"


def pixels(message: Image | CompressedImage, grey: bool = False) -> NDArray[Any]:
    """RGB (H, W, 3) uint8, or depth (H, W): uint16 units, or float32 metres with 0 for no measurement.

    ``grey``: 16 bits of grey are a picture and no depth. Raises PixelError.
    """
    kind, reason = kind_of(message)
    if grey and isinstance(message, Image) and encoding_of(message) == "mono16":
        grey_levels = files.eight_bits(unpack(message), message.encoding)
        return np.asarray(cv2.cvtColor(grey_levels, cv2.COLOR_GRAY2RGB), np.uint8)
    if not kind:
        raise PixelError(reason)
    try:
        if isinstance(message, Image):
            return _raw(message)
        return _packed_depth(message) if kind == "depth" else files.decode(message.data, "a compressed image", "colour")
    except (DataError, rvl.RvlError, cv2.error) as error:
        raise PixelError(str(error)) from error


def unpack(message: Image) -> NDArray[Any]:
    """The values as stored, rows possibly padded → (H, W) or (H, W, C), native byte order, its own memory."""
    kind, channels = LAYOUT[encoding_of(message)]
    stored = np.dtype((">" if message.big else "<") + kind)
    height, width = message.height, message.width
    row = width * channels * stored.itemsize
    _check_size(message, row, height)
    rows = np.frombuffer(message.data, np.uint8, count=height * (message.step or row)).reshape(height, -1)
    values = np.ascontiguousarray(rows[:, :row]).view(stored)
    image = values.reshape((height, width) if channels == 1 else (height, width, channels))
    return image.astype(stored.newbyteorder("="))


def _check_size(message: Image, row: int, rows: int) -> None:
    """``row``: bytes of a row of pixels. A step of 0 is taken as rows without padding."""
    if not (message.height and message.width):
        raise PixelError(f"an image of {message.width}×{message.height} pixels")
    if message.height * message.width > MAX_PIXELS:
        raise PixelError(f"an image of {message.width}×{message.height} pixels, expected at most 64 million")
    step = message.step or row
    if step < row or len(message.data) < step * rows:
        raise PixelError(
            f"a {message.encoding} image of {message.width}×{message.height} with {len(message.data)} bytes in rows of "
            f"{message.step}, expected at least {row} a row"
        )


def _raw(message: Image) -> NDArray[Any]:
    name = encoding_of(message)
    if name in PLANAR:
        rows = message.height * 3 // 2
        if message.height % 2 or message.width % 2:
            raise PixelError(f"an {name} image of {message.width}×{message.height}, expected even numbers")
        _check_size(message, message.width, rows)
        step = message.step or message.width
        plane = np.frombuffer(message.data, np.uint8, count=rows * step).reshape(rows, step)[:, : message.width]
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(plane), PLANAR[name]), np.uint8)
    image = unpack(message)
    if name in DEPTH:
        if image.dtype.kind == "i":
            return np.asarray(np.maximum(image, 0), np.uint16)  # less than nothing is no measurement
        return float_metres(image) if image.dtype.kind == "f" else image
    if name.startswith("bayer") and min(image.shape) < 3:
        raise PixelError(f"a {name} image of {message.width}×{message.height}")
    if name in TO_RGB:
        image = cv2.cvtColor(image, TO_RGB[name])
    return np.ascontiguousarray(files.eight_bits(image, f"{message.frame_id or 'colour'} ({name})"), np.uint8)


def float_metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Float depth → float32 with 0 where it is negative, infinite or no number: that is no measurement."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = depth.astype(np.float32)
        return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))


def _packed_depth(message: CompressedImage) -> NDArray[Any]:
    """PNG or RVL of depth: its units, or inverse depth behind a header, undone by depth = A / (value − B)."""
    stored = message.format.partition(";")[0].strip()
    if not packed_depth(message.format):
        units = files.decode(message.data, "a compressed depth image", "stored")
        return _units(units)
    if len(message.data) <= DEPTH_HEADER.size:
        raise PixelError("a compressedDepth image without data")
    _, a, b = DEPTH_HEADER.unpack_from(message.data)
    packed = message.data[DEPTH_HEADER.size :]
    if _is_rvl(message.format):
        units = rvl.decode(packed, MAX_PIXELS)
    else:
        units = _units(files.decode(packed, "a compressedDepth image", "stored"))
    if stored in ("16UC1", "16SC1", "mono16") or (stored not in DEPTH and a == 0):
        return units
    if not (math.isfinite(a) and math.isfinite(b) and a > 0):
        raise PixelError(f"a {message.format!r} image whose A is {a:g} and B {b:g}, expected depth = A / (value - B)")
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (units.astype(np.float32) - np.float32(b))
    depth[units == 0] = 0
    return float_metres(depth)


def _units(image: NDArray[Any]) -> NDArray[np.uint16]:
    if image.dtype != np.uint16 or image.ndim != 2:
        raise PixelError(f"a compressed depth image of {image.dtype} {image.shape}, expected one channel of 16 bits")
    return image
