"""Depth maps as files: what is stored, and how it becomes metres. One reader for cameras, data sets and ``predict``.

=================  ==========================================================================================
stored             meaning
=================  ==========================================================================================
16 or 32 bit       units from the camera, 1000 a metre unless :class:`DepthRule` says otherwise; 0 = no measurement
float              metres (units where the rule gives a scale); 0, negative, NaN and infinity = no measurement
any, ``relative``  no unit: relative inverse depth, disparity and the like, as below; floats by their largest value
8 bit              no unit: relative inverse depth. Value v becomes pseudo-metres, 1/z = 1/5 + v/255 · (1/0.5 − 1/5),
                   so 0 … 255 span 5 m … 0.5 m. Models standardise inverse depth per image, so 0.5 and 5 m cancel;
                   only the polarity matters. 0 = no measurement where near is dark, and where near is bright if the
                   values next to it are unused (else it is what lies farthest)
=================  ==========================================================================================

Files: PNG, TIFF, PGM, BMP, JPEG (8 bit), ``.npy``, and ``.exr`` with the package OpenEXR. Values that stand for "no
measurement" besides 0, such as 65535, are found by :func:`hole_code`.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.pictures import MAX_PIXELS, ImageError, decode, header, read_bytes
from mutualformer.runtime.untrusted.foreign import foreign

SHAPE_TOLERANCE = 0.02  # between the aspect ratios of a picture and its depth map of another resolution
POLARITIES = ("near_bright", "near_dark")
PSEUDO_NEAR_M, PSEUDO_FAR_M = 0.5, 5.0
MILLIMETRES = 1000.0
NPY, EXR = b"\x93NUMPY", b"\x76\x2f\x31\x01"
DEPTH_CHANNELS = ("Z", "Y", "D", "depth", "R", "V")  # of an EXR file, the first there is
# Largest values of integers of 10 … 16 bits: what sensors and simulators write where they saw nothing.
HOLE_CODES = (1023, 2047, 4095, 8191, 16383, 32767, 65534)
NEVER_MEASURED = 65535  # of 16 bits: a hole in every set that has it
GREY_TOLERANCE = 8  # between the channels of a grey picture: JPEG makes them differ a little
SPIKE_SHARE = 0.005  # of the pixels that a code must have at least,
SPIKE_FACTOR = 4.0  # and how many times as many as any value within
SPIKE_REACH = 0.05  # this share of it: a sensor's own quantisation makes many spikes side by side
BEYOND_M = 10.0  # metres that a value must lie beyond to be none by its size: what the sensors of rooms do not measure
RELATIVE_BITS = (8, 10, 12, 16, 32)
LOW_CODES = 8  # values next to 0 of an 8-bit map that are unused where 0 is a hole


@dataclass(frozen=True)
class DepthRule:
    """How stored values become metres.

    ``units_per_metre``: 1000 = millimetres, 5000 = TUM, 256 = KITTI; None = 1000 for integers and 1 for floats.
    ``polarity``: "near_bright" or "near_dark", of maps without a unit: those of 8 bits, and with ``relative`` all (an
    8-bit map stored with more bits, disparities). ``hole``: a value that stands for no measurement besides 0; None
    = look for one (:func:`hole_code`), 0 = none. ``rotate``: bits by which 16-bit values were rotated left, 3 in
    SUN RGB-D. ``full``: the largest value of integer maps without a unit, None = each map's own
    (:func:`full_scale`).
    """

    units_per_metre: float | None = None
    polarity: str = "near_bright"
    relative: bool = False
    hole: float | None = None
    rotate: int = 0
    full: float | None = None

    def __post_init__(self) -> None:
        if self.units_per_metre is not None and not 0 < self.units_per_metre < float("inf"):
            raise ValueError(f"depth units per metre are {self.units_per_metre:g}, expected a number above 0")
        if self.polarity not in POLARITIES:
            raise ValueError(f"polarity is {self.polarity!r}, expected one of {', '.join(POLARITIES)}")
        if not 0 <= self.rotate < 16:
            raise ValueError(f"bits are rotated by {self.rotate}, expected 0 … 15")


DEFAULT_RULE = DepthRule()


def read_stored_depth(path: str | os.PathLike[str]) -> NDArray[Any]:
    """(H, W) as stored: unsigned or signed integers of 8, 16 or 32 bits, or float32.

    Raises ImageError for what is no depth map: a colour picture (colourised depth has lost its values), a file of
    another shape, one that declares more pixels than :data:`MAX_PIXELS`.
    """
    data, name = read_bytes(path), str(path)
    if data.startswith(NPY):
        image = _npy(data, name)
    elif data.startswith(EXR):
        image = _exr(data, name)
    else:
        image = decode(data, name, "stored")
    if image.ndim == 3 and image.shape[2] in (3, 4):
        channels = image[..., :3].astype(np.float64)
        if not (np.ptp(channels, axis=2) <= GREY_TOLERANCE).all():  # JPEG makes grey channels differ a little
            raise ImageError(
                f"{name}: is a colour picture, expected a depth map of one channel; colourised depth cannot be undone"
            )
        image = image[..., 1]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim != 2:
        raise ImageError(f"{name}: depth is {image.shape}, expected one channel (H, W)")
    if image.dtype.kind == "f":
        return np.ascontiguousarray(image, dtype=np.float32)
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 4:
        raise ImageError(f"{name}: depth is {image.dtype}, expected integers of 8, 16 or 32 bits, or floats")
    return np.ascontiguousarray(image)


def _npy(data: bytes, name: str) -> NDArray[Any]:
    """An ``.npy`` file's array; its header is checked first, and nothing is ever unpickled."""
    stream = io.BytesIO(data)
    with foreign("NumPy", ImageError, name, "expected a whole .npy file"):
        formats: Any = np.lib.format  # untyped
        newer = formats.read_magic(stream) >= (2, 0)
        read = formats.read_array_header_2_0 if newer else formats.read_array_header_1_0
        shape, _, dtype = read(stream)
        count = 1
        for side in shape:
            count *= int(side)
        if dtype.kind not in "iuf" or not 0 < count <= MAX_PIXELS or count * dtype.itemsize > len(data):
            raise ImageError(f"{name}: declares {dtype} {shape}, expected one depth map that the file holds whole")
        stream.seek(0)
        return np.asarray(np.load(stream, allow_pickle=False))


def _exr(data: bytes, name: str) -> NDArray[Any]:
    """The depth channel of an OpenEXR file. OpenCV's own reader is years old and switched off for its faults."""
    header(data, name)
    try:
        import OpenEXR
    except ImportError as error:
        raise ImageError(f"{name}: EXR needs one more package; pip install 'mutualformer[exr]'") from error
    with foreign("OpenEXR", ImageError, name, "expected a whole EXR file"):
        channels = OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0).channels()
        channel = next((channels[key] for key in DEPTH_CHANNELS if key in channels), None)
        if channel is None:
            raise ImageError(f"{name}: has the channels {', '.join(channels)}, expected {' or '.join(DEPTH_CHANNELS)}")
        return np.asarray(channel.pixels)


class DepthError(ValueError):
    """A depth map cannot lie over its picture: one clause."""


def same_shape(one: tuple[int, int], two: tuple[int, int]) -> bool:
    """Whether two sizes (H, W) have one aspect ratio, within 2 %."""
    return abs(one[0] * two[1] - two[0] * one[1]) <= SHAPE_TOLERANCE * two[0] * one[1]


def aligned(depth: NDArray[Any], shape: tuple[int, int]) -> tuple[NDArray[Any], str | None]:
    """Depth (H, W) over a picture of ``shape`` (H, W), of any type: of another resolution by nearest neighbour, which
    the second value says, else None. Raises DepthError where the two have different aspect ratios."""
    if depth.shape == shape:
        return depth, None
    if not same_shape(depth.shape, shape):
        raise DepthError(f"depth is {depth.shape} and colour {shape}, expected depth aligned to colour")
    rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(shape, depth.shape, strict=True))
    note = f"depth of {depth.shape[1]}×{depth.shape[0]} is enlarged to {shape[1]}×{shape[0]} by nearest neighbour"
    return np.ascontiguousarray(depth[rows[:, None], columns]), note


def hole_code(stored: NDArray[Any], units_per_metre: float = MILLIMETRES) -> float | None:
    """The value of a depth map (H, W) that stands for "no measurement" besides 0, or None.

    Integers: NEVER_MEASURED always; one of :data:`HOLE_CODES` where it is a spike (0.5 % of the pixels, and 4 times as
    many as any value within 5 % of it has). Integers and floats: any other largest value that as many pixels share,
    twice the next lower one and beyond 10 m, as simulators and converted files have it (1000.0, 65.535, 1e10).
    """
    if stored.dtype == np.uint8 or not stored.size:
        return None
    values = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
    top = values.max() if values.size else 0
    least = max(2, round(SPIKE_SHARE * stored.size))
    if stored.dtype.kind in "iu":
        if stored.dtype == np.uint16 and top == NEVER_MEASURED:
            return NEVER_MEASURED
        for code in HOLE_CODES:
            if code <= top and is_spike(stored, code, least):
                return code
    if top > BEYOND_M * units_per_metre and int(np.count_nonzero(stored == top)) >= least:
        below = values[values < top]
        if below.size and top >= 2 * float(below.max()) > 0:
            return float(top) if stored.dtype.kind == "f" else int(top)
    return None


def is_spike(stored: NDArray[Any], code: int, least: int) -> bool:
    """Whether integers (H, W) have ``code`` in at least ``least`` pixels and far more often than any value near it."""
    share = int(np.count_nonzero(stored == code))
    if share < least:
        return False
    reach = round(SPIKE_REACH * code)
    near = stored[(stored >= code - reach) & (stored <= code + reach) & (stored != code)].astype(np.int64)
    most = int(np.bincount(near - (code - reach)).max()) if near.size else 0
    return share >= SPIKE_FACTOR * most


def full_scale(stored: NDArray[Any]) -> float:
    """The value of a map without a unit that is nearest (or farthest): of integers the largest of 8, 10, 12, 16 or 32
    bits, whichever holds the map; of floats 1 where none is larger, else the map's own largest."""
    if stored.dtype == np.uint8 or not stored.size:
        return 255.0
    finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
    top = float(finite.max()) if finite.size else 1.0
    if stored.dtype.kind == "f":
        return max(top, 1.0)
    return float(next((1 << bits) - 1 for bits in RELATIVE_BITS if top < 1 << bits))


def isolated(stored: NDArray[np.uint8], value: int) -> bool:
    """Whether 0 or 255 of an 8-bit map stands apart: a share of the pixels have it and none the values next to it."""
    if np.count_nonzero(stored == value) < SPIKE_SHARE * stored.size:
        return False
    beside = (stored > 0) & (stored < LOW_CODES) if value == 0 else (stored < 255) & (stored > 255 - LOW_CODES)
    return not beside.any()


def _pseudo_metres(stored: NDArray[Any], rule: DepthRule) -> NDArray[np.float32]:
    """Relative inverse depth of any type → 5 m … 0.5 m, 0 = no measurement."""
    scale = full_scale(stored)
    if rule.full is not None and stored.dtype.kind in "iu" and stored.dtype != np.uint8:
        scale = max(scale, rule.full)  # as the other maps of the set
    with np.errstate(invalid="ignore"):
        share = np.clip(stored.astype(np.float32) / np.float32(scale), 0, 1)
    if rule.polarity == "near_dark":
        share = 1 - share
    pseudo = np.asarray(1 / (1 / PSEUDO_FAR_M + share * (1 / PSEUDO_NEAR_M - 1 / PSEUDO_FAR_M)), dtype=np.float32)
    if stored.dtype.kind == "f":
        pseudo[~np.isfinite(stored) | (stored <= 0)] = 0
    elif rule.polarity == "near_dark":
        pseudo[stored == 0] = 0
    else:
        zero, low = stored == 0, LOW_CODES * (int(scale) // 255)
        if np.count_nonzero(zero) >= SPIKE_SHARE * stored.size and not ((stored > 0) & (stored < low)).any():
            pseudo[zero] = 0
    if rule.hole:
        pseudo[stored == (np.float32(rule.hole) if stored.dtype.kind == "f" else rule.hole)] = 0
    return pseudo


def unrotated(stored: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Undo a rotation of 16-bit values to the left, as SUN RGB-D's depth_bfx and depth files have it (3 bits)."""
    return np.asarray((stored >> bits) | (stored << (16 - bits)), dtype=np.uint16) if bits else stored


def is_relative(stored: NDArray[Any], rule: DepthRule) -> bool:
    """Whether a map as stored has no unit: those of 8 bits, and all where the rule says so."""
    return stored.dtype == np.uint8 or rule.relative


def to_metres(stored: NDArray[Any], rule: DepthRule = DEFAULT_RULE) -> NDArray[np.float32]:
    """(H, W) as stored → (H, W) float32 metres, 0 = no measurement.

    One float32 multiplication, so that the same integers always give the same metres.
    """
    if is_relative(stored, rule):
        return _pseudo_metres(stored, rule)
    if stored.dtype.kind == "f":
        return _float_metres(stored, rule)
    if stored.dtype == np.uint16:
        stored = unrotated(stored, rule.rotate)
    units = rule.units_per_metre or MILLIMETRES
    hole = rule.hole if rule.hole is not None else hole_code(stored, units)
    metres = np.multiply(stored, np.float32(1.0 / units), dtype=np.float32)
    if stored.dtype.kind == "i":
        np.maximum(metres, 0, out=metres)
    if hole is not None:
        metres[stored == hole] = 0
    if hole and stored.dtype == np.uint16:  # a hole whatever else is one, unless the rule says that there is none
        metres[stored == NEVER_MEASURED] = 0
    return np.asarray(metres)


def _float_metres(stored: NDArray[Any], rule: DepthRule) -> NDArray[np.float32]:
    units = rule.units_per_metre or 1.0
    hole = rule.hole if rule.hole is not None else hole_code(stored, units)
    scale = 1.0 / units
    metres = stored.astype(np.float32) if scale == 1.0 else np.multiply(stored, np.float32(scale), dtype=np.float32)
    measured = np.isfinite(metres) & (metres > 0)
    if hole:
        measured &= stored != np.float32(hole)
    return np.asarray(np.where(measured, metres, np.float32(0)))


def read_depth(path: str | os.PathLike[str], rule: DepthRule = DEFAULT_RULE) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 = no measurement, from a depth file. Raises ImageError."""
    return to_metres(read_stored_depth(path), rule)
