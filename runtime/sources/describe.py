"""Reads a picture file's header before any pixel is decoded, and limits what it may declare.

Pillow opens files lazily: it finds format, size, bits, transparency, colour profile, orientation and number of pictures
without decoding. This module limits pixels and bytes, OpenCV itself refuses more pixels
(``OPENCV_IO_MAX_IMAGE_PIXELS``, set in ``mutualformer/__init__.py``), and :func:`check_decoded` refuses a file whose
decoded size is not the declared one.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mutualformer.extras import install
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.untrusted.foreign import foreign

# Of today's cameras only the largest phones exceed 64 million pixels. `predict --max-megapixels` sets the environment
# variable before this module is imported.
MAX_PIXELS = int(float(os.environ.get("MUTUALFORMER_MAX_MEGAPIXELS", "64")) * 1e6)
MAX_BYTES_PER_PIXEL = 6  # three channels of 16 bits; the limit of a decoded picture is that times MAX_PIXELS
# Each scan of a progressive JPEG makes the decoder go over the whole picture once, and may take 60 bytes in the file.
# Encoders write about ten; files made to stall a decoder hold thousands.
MAX_SCANS = 40
# First bytes of the kinds that have readers of their own.
NPY, EXR = b"\x93NUMPY", b"\x76\x2f\x31\x01"
# The formats that Pillow may read; it knows others (PDF, EPS, FITS, …), which are refused.
FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "WEBP", "BMP", "DIB", "PPM", "GIF", "AVIF", "HEIF", "JPEG2000")
# Tags of TIFF, and two values of PHOTOMETRIC.
SUBFILE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, FORMAT_TAG = 254, 256, 257, 258, 262, 274, 277, 339
ICC_PROFILE, DNG, PALETTE, SEPARATED = 34675, 50706, 3, 5


@dataclass(frozen=True)
class Description:
    """``kind``: Pillow's name of the format. ``channels``, ``item_bytes``: of the stored pixels. ``turn``: EXIF's
    orientation, 1 … 8. ``pictures``: frames of an animation, pages. ``thumbnail``: the first picture is a reduced one,
    as in camera raw files. ``floats``: whether pixels are floating point."""

    kind: str
    width: int
    height: int
    channels: int = 1
    item_bytes: int = 1
    turn: int = 1
    pictures: int = 1
    alpha: bool = False
    palette: bool = False
    floats: bool = False
    thumbnail: bool = False
    icc: bytes | None = None


def describe(data: bytes, name: str) -> Description:
    """The header of a picture's bytes. Raises DataError naming ``name``: no picture, corrupt, or too large."""
    with foreign("Pillow", DataError, name, "expected a whole picture"):
        told = _tiff(data) if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else _pillow(data, name)
    if told.width <= 0 or told.height <= 0:
        raise DataError(f"{name}: declares {told.width}×{told.height} pixels, expected a picture")
    pixels = told.width * told.height
    size, most = pixels * told.channels * told.item_bytes >> 20, MAX_PIXELS * MAX_BYTES_PER_PIXEL >> 20
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{name}: declares {told.width}×{told.height} pixels, expected at most {MAX_PIXELS / 1e6:g} million "
            "(--max-megapixels of predict, or MUTUALFORMER_MAX_MEGAPIXELS, raises the limit)"
        )
    if size > most:
        raise DataError(f"{name}: would take {size} MiB, expected at most {most} MiB")
    if told.kind == "PNG":
        _whole_chunks(data, name)
    if told.kind in ("JPEG", "MPO") and data.count(b"\xff\xda") > MAX_SCANS * told.pictures:
        raise DataError(f"{name}: is a JPEG with more than {MAX_SCANS} scans, expected about ten, as cameras write")
    return told


def _whole_chunks(data: bytes, name: str) -> None:
    """Raise DataError where a PNG's chunk declares more bytes than the file holds: OpenCV would allocate them."""
    place = 8
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if place + 12 + length > len(data):
            raise DataError(f"{name}: a chunk declares more bytes than there are, expected a whole PNG file")
        if data[place + 4 : place + 8] == b"IEND":
            return
        place += 12 + length


def check_decoded(image: NDArray[Any], told: Description, name: str) -> None:
    """Raise DataError where the decoded picture has another size than its header declares."""
    if image.shape[:2] != (told.height, told.width):
        raise DataError(
            f"{name}: is corrupt: it declares {told.width}×{told.height} pixels and holds "
            f"{image.shape[1]}×{image.shape[0]}"
        )


def open_lazily(source: Any) -> Any:
    """Pillow's image of a path or stream, in the formats that this program reads; no pixel is decoded.

    Raises PIL.UnidentifiedImageError, an OSError, for anything else.
    """
    from PIL import Image

    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # `describe` limits sizes, with its own message
    return Image.open(source, formats=[kind for kind in FORMATS if kind in Image.OPEN])


def _pillow(data: bytes, name: str) -> Description:
    from PIL import Image, ImageMode, UnidentifiedImageError

    if data[4:8] == b"ftyp":
        _register_heif()
    try:
        with open_lazily(io.BytesIO(data)) as image:
            # Only the decoder's raw mode shows 16-bit colour, which Pillow reduces to 8 bits.
            raw = str(image.tile[0][3]) if image.tile and image.format == "PNG" else ""
            mode = ImageMode.getmode(image.mode)
            transparent = "A" in image.mode or "transparency" in image.info
            return Description(
                str(image.format),
                image.width,
                image.height,
                len(mode.bands),
                2 if "16B" in raw else int(mode.typestr[2:]),
                int(Image.Image.getexif(image).get(ORIENTATION, 1)),  # PNG's own getexif decodes the picture
                int(getattr(image, "n_frames", 1)),
                transparent,
                image.mode in ("P", "PA"),
                image.mode == "F",
                icc=image.info.get("icc_profile") or None,
            )
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_looks_like(data)}, expected a picture: PNG, JPEG, TIFF, WebP, …") from None


def _register_heif() -> None:
    """Let Pillow open HEIC pictures of phones, where the extra ``heic`` is installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def _tiff(data: bytes) -> Description:
    """Read TIFF tags with Pillow's directory reader only: its picture reader refuses files that OpenCV decodes."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream = io.BytesIO(data)
    directory = ImageFileDirectory_v2(data[:16] if b"+" in data[2:4] else data[:8])
    pages: dict[int, dict[int, Any]] = {}
    # A corrupt file may link its directories in a circle, or a great many of them.
    while (offset := directory.next) and offset not in pages and len(pages) < 64:
        stream.seek(offset)
        directory.load(stream)
        pages[offset] = dict(directory)
    if not pages:
        raise ValueError("it has no directory")
    place, tags = next(iter(pages.items()))
    named = [tag for tag, _ in _entries(data, place)]
    if len(set(named)) != len(named):  # another reader may use the other value
        raise ValueError("a tag appears twice")

    def number(tag: int, default: int) -> int:
        value = tags.get(tag) or default  # one for each channel, in some tags
        return int(max(value) if isinstance(value, (tuple, list)) else value)

    samples, photometric, profile = number(SAMPLES, 1), number(PHOTOMETRIC, 1), tags.get(ICC_PROFILE)
    return Description(
        "TIFF",
        number(WIDTH, 0),
        number(HEIGHT, 0),
        samples,
        (number(BITS, 1) + 7) // 8,
        number(ORIENTATION, 1),
        len(pages),
        samples in (2, 4) and photometric != SEPARATED,
        photometric == PALETTE,
        number(FORMAT_TAG, 1) == 3,
        # NewSubfileType 1: a reduced picture comes first; DNGVersion: the real one lies elsewhere.
        bool(number(SUBFILE, 0) & 1) or DNG in tags,
        profile if isinstance(profile, bytes) else None,
    )


def _entries(data: bytes, place: int) -> list[tuple[int, int]]:
    """(tag, offset of its entry) for each entry of a classic TIFF's directory at ``place``; empty for BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    if 42 not in data[2:4]:
        return []
    (count,) = struct.unpack_from(f"{order}H", data, place)
    return [(struct.unpack_from(f"{order}H", data, at)[0], at) for at in range(place + 2, place + 2 + 12 * count, 12)]


def untagged(data: bytes) -> bytes:
    """A TIFF file's bytes with orientation 1: OpenCV's decoder turns other pictures even when its flags forbid it."""
    order = "<" if data[:2] == b"II" else ">"
    changed = bytearray(data)
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    for tag, at in _entries(data, place):
        if tag == ORIENTATION:
            struct.pack_into(f"{order}H", changed, at + 8, 1)
    return bytes(changed)


def _looks_like(data: bytes) -> str:
    """What a file that Pillow cannot identify seems to be, for an error message."""
    if data.startswith((NPY, EXR)):
        return "is a NumPy array or an EXR picture, which is read as depth only"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return f"is a HEIC picture; to read these: {install('heic')}"
    if data[4:8] == b"ftyp":
        return "is a video"
    return "is no picture of a known format"
