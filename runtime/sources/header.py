"""How large an image file says it is, read before anything is decoded, and how its tag wants it turned.

A PNG of two kilobytes may declare 4 gigapixels, and a decoder allocates them before it finds no data behind. OpenCV
cannot be asked for a size without decoding, and Pillow knows neither EXR nor TIFF of 64-bit floats; so the few bytes
that matter are read here. Only formats that this module knows are given to a decoder at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

# TIFF tags (TIFF 6.0, section 8; EXIF uses the same structure).
WIDTH, HEIGHT, ORIENTATION = 256, 257, 274
# JPEG start-of-frame markers; C4, C8 and CC are other segments.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


class HeaderError(ValueError):
    """No image of a known format, or one whose header is cut short."""


@dataclass(frozen=True)
class Header:
    """``format``: PNG, JPEG, BMP, TIFF, WebP, PNM or EXR. ``orientation``: EXIF's 1 … 8, 1 = as stored."""

    format: str
    width: int
    height: int
    orientation: int = 1

    @property
    def pixels(self) -> int:
        """How many pixels it says it has; nothing has been decoded yet."""
        return self.width * self.height


class _Directory(NamedTuple):
    """A TIFF directory: its byte order and the first value of each entry that is a whole number."""

    order: str
    values: dict[int, int]


def read_header(data: bytes | memoryview) -> Header:
    """The header of an image file's bytes. Raises HeaderError."""
    view = bytes(data[:64])
    try:
        for starts, reader in _READERS:
            if any(view.startswith(start) for start in starts):
                return reader(memoryview(data))
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, HeaderError):
            raise
        raise HeaderError("its header is cut short or damaged") from error
    raise HeaderError(f"{_looks_like(view)}, expected PNG, JPEG, BMP, TIFF, WebP, PNM or EXR")


def _looks_like(start: bytes) -> str:
    """What people most often have under an image's name."""
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "it is a HEIC or AVIF picture"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer whose picture was not downloaded"
    if start.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        return "it is a web page: the download was answered with one"
    return "it is no image of a known format"


def _png(data: memoryview) -> Header:
    if bytes(data[12:16]) != b"IHDR":
        raise HeaderError("its header is cut short or damaged")
    width, height = struct.unpack(">II", data[16:24])
    orientation, position = 1, 8
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if position + length + 12 > len(data):  # a decoder would allocate what is declared, up to 2 GiB
            raise HeaderError(
                f"its {kind.decode('latin-1')!r} chunk declares more bytes than there are, it is cut short"
            )
        if kind == b"eXIf":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        if kind == b"IEND":
            break
        position += length + 12
    return Header("PNG", width, height, orientation)


def _jpeg(data: memoryview) -> Header:
    position, orientation = 2, 1
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise HeaderError("its header is cut short or damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in STANDALONE:
            position += 2
            continue
        length = struct.unpack(">H", data[position + 2 : position + 4])[0]
        body = data[position + 4 : position + 2 + length]
        if marker in FRAMES:
            height, width = struct.unpack(">HH", body[1:5])
            return Header("JPEG", width, height, orientation)
        if marker == 0xE1 and bytes(body[:6]) == b"Exif\0\0":
            orientation = _orientation(body[6:])
        if marker == 0xDA or length < 2:
            break
        position += 2 + length
    raise HeaderError("its header is cut short or damaged")


def _bmp(data: memoryview) -> Header:
    size = struct.unpack("<I", data[14:18])[0]
    width, height = struct.unpack("<HH", data[18:22]) if size == 12 else struct.unpack("<ii", data[18:26])
    return Header("BMP", abs(width), abs(height))


def _directory(data: memoryview) -> _Directory:
    """The first directory of a TIFF structure, entries of type BYTE, SHORT and LONG only. BigTIFF is refused."""
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    if struct.unpack(order + "H", data[2:4])[0] != 42:
        raise HeaderError("it is a BigTIFF")
    start = struct.unpack(order + "I", data[4:8])[0]
    count = struct.unpack(order + "H", data[start : start + 2])[0]
    values: dict[int, int] = {}
    for index in range(count):
        entry = data[start + 2 + 12 * index : start + 14 + 12 * index]
        tag, kind, _ = struct.unpack(order + "HHI", entry[:8])
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        if code:
            values.setdefault(tag, struct.unpack(order + code, entry[8 : 8 + struct.calcsize(code)])[0])
    return _Directory(order, values)


def _orientation(exif: memoryview) -> int:
    """EXIF's orientation, 1 where it is damaged or missing: a bad tag spoils no picture."""
    try:
        value = _directory(exif).values.get(ORIENTATION, 1)
    except (struct.error, IndexError, KeyError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _tiff(data: memoryview) -> Header:
    values = _directory(data).values
    if WIDTH not in values or HEIGHT not in values:
        raise HeaderError("its header is cut short or damaged")
    turn = values.get(ORIENTATION, 1)
    return Header("TIFF", values[WIDTH], values[HEIGHT], turn if 1 <= turn <= 8 else 1)


def turned_back(data: bytes | memoryview) -> bytes:
    """A TIFF file's bytes with its orientation set to 1 (as stored): OpenCV turns TIFF pixels, whatever it is asked."""
    changed = bytearray(data)
    order = {b"II": "<", b"MM": ">"}[bytes(changed[:2])]
    start = struct.unpack_from(order + "I", changed, 4)[0]
    for index in range(struct.unpack_from(order + "H", changed, start)[0]):
        entry = start + 2 + 12 * index
        tag, kind = struct.unpack_from(order + "HH", changed, entry)
        if tag == ORIENTATION and kind in (1, 3, 4):
            struct.pack_into(order + {1: "B", 3: "H", 4: "I"}[kind], changed, entry + 8, 1)
    return bytes(changed)


def _webp(data: memoryview) -> Header:
    if bytes(data[8:12]) != b"WEBP":
        raise HeaderError("it is a RIFF file, but no WebP picture")
    kind, body = bytes(data[12:16]), data[20:]
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", body[6:10]))
        return Header("WebP", width, height)
    if kind == b"VP8L":
        bits = struct.unpack("<I", body[1:5])[0]
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise HeaderError("its header is cut short or damaged")
    width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    orientation, position = 1, 12
    while position + 8 <= len(data):
        name, length = bytes(data[position : position + 4]), struct.unpack("<I", data[position + 4 : position + 8])[0]
        if name == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = _orientation(exif[6:] if bytes(exif[:6]) == b"Exif\0\0" else exif)
        position += 8 + length + length % 2
    return Header("WebP", width, height, orientation)


def _pnm(data: memoryview) -> Header:
    """P1 … P6; numbers may be parted by comments."""
    numbers: list[int] = []
    for line in bytes(data[2:4096]).split(b"\n"):
        for word in line.split(b"#", 1)[0].split():
            if len(word) > 9:
                raise HeaderError("its header is cut short or damaged")
            numbers.append(int(word))
            if len(numbers) == 2:
                return Header("PNM", *numbers)
    raise HeaderError("its header is cut short or damaged")


def _exr(data: memoryview) -> Header:
    """Size of an OpenEXR file's first part: the attribute dataWindow."""
    head, position = bytes(data[: 1 << 16]), 8
    while position < len(head) and head[position]:
        name, after = head[position : (end := head.index(b"\0", position))], end + 1
        end = head.index(b"\0", after)
        size = struct.unpack("<i", head[end + 1 : end + 5])[0]
        if name == b"dataWindow":
            left, top, right, bottom = struct.unpack("<4i", head[end + 5 : end + 21])
            return Header("EXR", max(0, right - left + 1), max(0, bottom - top + 1))
        if size < 0:
            break
        position = end + 5 + size
    raise HeaderError("its header is cut short or damaged")


_READERS = (
    ((b"\x89PNG\r\n\x1a\n",), _png),
    ((b"\xff\xd8\xff",), _jpeg),
    ((b"BM",), _bmp),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ((b"RIFF",), _webp),
    (tuple(b"P%d%c" % (kind, space) for kind in range(1, 7) for space in b" \t\r\n"), _pnm),
    ((b"\x76\x2f\x31\x01",), _exr),
)
