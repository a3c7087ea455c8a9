"""The one depth rule: the only way from stored values to metres, for every file and every caller.

=================  ==========================================================================================
stored             meaning
=================  ==========================================================================================
16 or 32 bit       units from the camera, 0.001 m each unless ``depth_scale`` (metres per unit) says otherwise
float              metres, or units where ``depth_scale`` is given
8 bit              no unit: relative inverse depth. Value v becomes pseudo-metres, 1/z = 1/5 + v/255 · (1/0.5 − 1/5),
                   so 0 … 255 span 5 m … 0.5 m. Models standardise inverse depth per image, so 0.5 and 5 m cancel;
                   only the polarity matters
any, ``relative``  the same for disparities, inverse depth and 8-bit maps stored with more bits
=================  ==========================================================================================

No measurement ("hole", 0 in metres) is: 0, NaN, infinity, a negative value, 65535 of 16 bits, and a map's largest value
where it is 2ⁿ − 1 (n = 11 … 15) and at least 1 % of the pixels hold exactly it: the full-scale codes of sensors.
``holes=none`` keeps these codes as distances; ``holes=9999,4000`` names others. Live cameras follow their SDK and come
through :func:`mutualformer.runtime.sources.frame.metres` alone. No other statistics ever change a pixel.

Files: PNG, TIFF, PGM, PFM, BMP, JPEG (8 bit), ``.npy``, and ``.exr`` with the package OpenEXR.
"""

from __future__ import annotations

import io
import math
import os
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.extras import install
from mutualformer.runtime.sources.describe import EXR, MAX_PIXELS, NPY
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.pictures import decode, read_bytes
from mutualformer.runtime.untrusted.foreign import foreign

POLARITIES = ("near_bright", "near_dark")
PSEUDO_NEAR_M, PSEUDO_FAR_M = 0.5, 5.0
MILLIMETRES = 0.001
NEVER_MEASURED = 65535  # of 16 bits: what sensors, SDKs and data sets alike write for no measurement
FULL_SCALES = tuple((1 << bits) - 1 for bits in range(11, 16))
# A surface at exactly a full-scale distance fills far less of a frame than this; what a sensor missed fills more.
FULL_SCALE_SHARE = 0.01
ASPECT_TOLERANCE = 0.02  # 1920×1440 beside 256×192 is one shape; 16:9 beside 4:3 is another field of view
GREY_TOLERANCE = 8  # between the channels of a grey picture: JPEG makes them differ a little
MOST_ATTRIBUTES = 1000  # of an EXR header: renderers write some dozens; 100,000 take half a minute to read
# Channels of an EXR file that are depth by their name alone, the first there is; a layer's name precedes a dot.
DEPTH_CHANNELS = ("z", "depth", "d", "distance", "worlddepth", "v", "y")


@dataclass(frozen=True)
class DepthRule:
    """How stored values become metres.

    ``depth_scale``: metres per unit, None = 0.001 for integers and 1 for floats: 0.0002 is TUM's, 0.00390625 KITTI's.
    ``holes``: values besides the ones above that are no measurement; ``none``: full-scale codes are distances.
    ``bits``: the low bits that hold depth, 0 = all: 13 for Android's DEPTH16, whose high bits are confidence.
    ``rotate``: bits by which 16-bit values were rotated left, 3 in SUN RGB-D. ``relative``: maps of every type have no
    unit; ``polarity``: "near_bright" or "near_dark", of maps without one.
    """

    depth_scale: float | None = None
    holes: tuple[float, ...] = ()
    none: bool = False
    bits: int = 0
    rotate: int = 0
    relative: bool = False
    polarity: str = "near_bright"

    def __post_init__(self) -> None:
        scale = self.depth_scale
        if scale is not None and not 1e-7 <= scale <= 1:
            hint = f"; {scale:g} units a metre are depth_scale={1 / scale:g}" if scale > 1 else ""
            raise DataError(f"depth_scale is {scale:g}, expected metres per unit: 0.001 (mm), 0.0002 (TUM){hint}")
        if self.polarity not in POLARITIES:
            raise DataError(f"polarity is {self.polarity!r}, expected one of {', '.join(POLARITIES)}")
        if not (0 <= self.rotate < 16 and 0 <= self.bits <= 16):
            raise DataError(f"rotate is {self.rotate} and depth_bits is {self.bits}, expected 0 … 15 and 0 … 16 bits")


DEFAULT_RULE = DepthRule()


def parse_holes(text: str) -> tuple[tuple[float, ...], bool]:
    """``holes=`` of an address → (values, whether full-scale codes are distances). Raises DataError."""
    if text.strip().lower() == "none":
        return (), True
    try:
        return tuple(float(word) for word in text.split(",") if word.strip()), False
    except ValueError:
        raise DataError(f"holes is {text!r}, expected numbers separated by commas, or none") from None


@dataclass(frozen=True)
class DepthOptions:
    """Options of every address whose depth is stored. ``depth_scale``: metres per unit, 0 = not given. ``holes``:
    further values of no measurement, or none. Raises DataError where they make no rule."""

    depth_scale: float = 0.0
    holes: str = ""

    def __post_init__(self) -> None:
        _ = self.rule  # refuses wrong values now, not at the first frame

    @property
    def rule(self) -> DepthRule:
        """The depth rule that these options state."""
        return DepthRule(self.depth_scale or None, *parse_holes(self.holes))


def is_relative(stored: NDArray[Any], rule: DepthRule) -> bool:
    """Whether a map as stored has no unit: 8 bits without a stated scale, and all where the rule says so."""
    return (stored.dtype == np.uint8 and rule.depth_scale is None) or rule.relative


def full_scale_code(stored: NDArray[Any]) -> int | None:
    """The full-scale code that stands for no measurement in a map of integers as stored, or None."""
    if stored.dtype.kind not in "iu" or stored.dtype == np.uint8 or not stored.size:
        return None
    top = int(stored.max())
    full = top in FULL_SCALES and int(np.count_nonzero(stored == top)) >= FULL_SCALE_SHARE * stored.size
    return top if full else None


def unpacked(stored: NDArray[Any], rule: DepthRule = DEFAULT_RULE) -> NDArray[Any]:
    """Values without rotation and confidence bits."""
    if stored.dtype != np.uint16:
        return stored
    if rule.rotate:
        stored = np.asarray((stored >> rule.rotate) | (stored << (16 - rule.rotate)), dtype=np.uint16)
    return stored & np.uint16((1 << rule.bits) - 1) if rule.bits else stored


def to_metres(stored: NDArray[Any], rule: DepthRule = DEFAULT_RULE) -> NDArray[np.float32]:
    """(H, W) as stored → (H, W) float32 metres, 0 = no measurement.

    One float32 multiplication, so that the same integers always give the same metres.
    """
    raw = stored  # 65535 is compared with the bits as they are in the file, before rotation
    stored = unpacked(stored, rule)
    if stored.dtype.kind == "f":
        hole = ~(np.isfinite(stored) & (stored > 0))
    else:
        hole = stored <= 0
        # With confidence bits cut off, a value of all ones is an ordinary distance.
        if not rule.none and not rule.bits:
            if raw.dtype == np.uint16:
                hole |= raw == NEVER_MEASURED
            if not is_relative(stored, rule) and (code := full_scale_code(stored)) is not None:
                hole |= stored == code
    for value in rule.holes:
        hole |= stored == (np.float32(value) if stored.dtype.kind == "f" else value)
    if is_relative(stored, rule):
        metres = _pseudo_metres(stored, rule)
    else:
        scale = rule.depth_scale or (1.0 if stored.dtype.kind == "f" else MILLIMETRES)
        metres = np.multiply(stored, np.float32(scale), dtype=np.float32)
    metres[hole] = 0
    return np.asarray(metres)


def _pseudo_metres(stored: NDArray[Any], rule: DepthRule) -> NDArray[np.float32]:
    """Relative inverse depth of any type → 5 m … 0.5 m. The scale is the type's own, or a float map's largest value:
    it cancels where the model standardises inverse depth."""
    if stored.dtype.kind == "f":
        finite = stored[np.isfinite(stored)]
        full = max(float(finite.max()) if finite.size else 1.0, 1e-6)
    else:
        full = float(np.iinfo(stored.dtype).max)
    with np.errstate(invalid="ignore"):  # NaN in a float map is a hole, which the caller sets to 0
        share = np.clip(stored.astype(np.float32) / np.float32(full), 0, 1)
    if rule.polarity == "near_dark":
        share = 1 - share
    return np.asarray(1 / (1 / PSEUDO_FAR_M + share * (1 / PSEUDO_NEAR_M - 1 / PSEUDO_FAR_M)), dtype=np.float32)


def same_shape(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    """Whether two sizes (H, W) have one aspect ratio, within 2 %."""
    return abs(one[0] * two[1] - two[0] * one[1]) <= ASPECT_TOLERANCE * two[0] * one[1]


def aligned(depth: NDArray[Any], shape: tuple[int, int]) -> tuple[NDArray[Any], str | None]:
    """Depth (H, W) at ``shape`` (height, width) and what was done, None where nothing was.

    Depth of another resolution but of the same shape (ARKit, ScanNet, OAK) is enlarged or reduced by nearest neighbour,
    so that no distance is invented. Raises DataError where the shapes differ by more than 2 %: depth must be aligned.
    """
    if depth.shape == shape:
        return depth, None
    if not same_shape(depth.shape, shape):
        raise DataError(
            f"depth is {depth.shape[1]}×{depth.shape[0]} and colour {shape[1]}×{shape[0]}, expected one shape: depth "
            "must be aligned to the colour picture, both as stored"
        )
    how = "enlarged" if shape[0] >= depth.shape[0] else "reduced"
    note = f"depth of {depth.shape[1]}×{depth.shape[0]} is {how} to {shape[1]}×{shape[0]} by nearest neighbour"
    return np.asarray(cv2.resize(depth, shape[::-1], interpolation=cv2.INTER_NEAREST)), note


def read_depth(path: str | os.PathLike[str], rule: DepthRule = DEFAULT_RULE) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 = no measurement, from a depth file. Raises DataError."""
    return to_metres(read_stored_depth(path), rule)


def read_stored_depth(path: str | os.PathLike[str]) -> NDArray[Any]:
    """(H, W) as stored: unsigned or signed integers of 8, 16 or 32 bits, or float32.

    Raises DataError for what is no depth map: a colour picture (colourised depth has lost its values), a file of
    another shape, one that declares more pixels than MAX_PIXELS.
    """
    return stored_depth(read_bytes(path), str(path))


def stored_depth(data: bytes, name: str) -> NDArray[Any]:
    """As :func:`read_stored_depth`, of a file's bytes; ``name`` names it in the DataError."""
    if data.startswith(NPY):
        image = _npy(data, name)
    elif data.startswith(EXR):
        image = _exr(data, name)
    else:
        image = decode(data, name, "stored")
    # Some exporters write one grey plane three times. A colourised map looks the same to a reader, but its colours no
    # longer order the distances.
    if image.ndim == 3 and image.shape[2] in (3, 4):
        channels = image[..., :3].astype(np.float64)
        if not (np.ptp(channels, axis=2) <= GREY_TOLERANCE).all():
            raise DataError(
                f"{name}: is a colour picture, expected a depth map of one channel; colourised depth cannot be undone"
            )
        image = image[..., 1]
    if image.ndim == 3 and 1 in (image.shape[0], image.shape[2]):
        image = np.squeeze(image, 0 if image.shape[0] == 1 else 2)
    if image.ndim != 2:
        raise DataError(f"{name}: depth is {image.shape}, expected one channel (H, W)")
    if image.dtype.kind == "f":
        return np.ascontiguousarray(image, dtype=np.float32)
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8 and abs(image).max() < 1 << 31:
        image = image.astype(np.int32)
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 4:
        raise DataError(f"{name}: depth is {image.dtype}, expected integers of 8, 16 or 32 bits, or floats")
    return np.ascontiguousarray(image)


def _npy(data: bytes, name: str) -> NDArray[Any]:
    """An ``.npy`` file's array; its header is checked first, and nothing is ever unpickled."""
    stream = io.BytesIO(data)
    with foreign("NumPy", DataError, name, "expected a whole .npy file"):
        formats: Any = np.lib.format  # untyped
        newer = formats.read_magic(stream) >= (2, 0)
        read = formats.read_array_header_2_0 if newer else formats.read_array_header_1_0
        shape, _, dtype = read(stream)
        count = math.prod(shape)
        if dtype.kind not in "iuf" or not 0 < count <= MAX_PIXELS or count * dtype.itemsize > len(data):
            raise DataError(f"{name}: declares {dtype} {shape}, expected one depth map that the file holds whole")
        stream.seek(0)
        return np.asarray(np.load(stream, allow_pickle=False))


def _few_attributes(data: bytes) -> None:
    """Raise ValueError where an EXR file's header has very many attributes, which OpenEXR reads in quadratic time."""
    place, count = 8, 0
    # Each is a name, a type, the size of its value and the value; an empty name ends them.
    while count <= MOST_ATTRIBUTES and data[place : place + 1] != b"\0":
        end = data.index(b"\0", data.index(b"\0", place) + 1)
        place, count = end + 5 + max(0, *struct.unpack_from("<i", data, end + 1)), count + 1
    if count > MOST_ATTRIBUTES:
        raise ValueError(f"its header has more than {MOST_ATTRIBUTES} attributes")


def _exr(data: bytes, name: str) -> NDArray[Any]:
    """The depth channel of an OpenEXR file. OpenCV's own reader is years old and switched off for its faults."""
    try:
        import OpenEXR
    except ImportError as error:
        raise DataError(f"{name}: EXR needs one more package: {install('exr')}") from error
    with foreign("OpenEXR", DataError, name, "expected a whole EXR file"):
        _few_attributes(data)
        stream = io.BytesIO(data)
        heads = [part.header for part in OpenEXR.File(stream, header_only=True, num_threads=0).parts]
        size = 0
        for head in heads:  # all parts and channels are decoded together
            low, high = head["dataWindow"]
            sides = [int(b) - int(a) + 1 for a, b in zip(low, high, strict=True)]
            size += max(0, sides[0]) * max(0, sides[1]) * max(1, len(head.get("channels", ())))
        if not 0 < size <= 4 * MAX_PIXELS or len(heads) > 1:
            raise DataError(f"{name}: declares {size} values in {len(heads)} parts, expected one picture of one part")
        stream.seek(0)
        channels = OpenEXR.File(stream, separate_channels=True, num_threads=0).channels()
    # depth, Z, LAYER.depth; a layer of one channel: depth.R, depth.V
    chosen = next((key for want in DEPTH_CHANNELS for key in channels if want in key.lower().split(".")[-2:]), None)
    if len(channels) == 1 and next(iter(channels)).upper() not in ("R", "G", "B", "A"):
        chosen = next(iter(channels))
    if chosen is None:
        raise DataError(f"{name}: has the channels {', '.join(channels)}, none of which is named as depth (Z, depth)")
    return np.asarray(channels[chosen].pixels)
