"""RVL, the lossless packing of 16-bit depth that compressedDepth offers beside PNG.

Wilson, "Fast Lossless Depth Image Compression" (ISS 2017): runs of zeros and of measured pixels alternate; a measured
pixel is its difference to the one before, zigzag coded (0, -1, 1, -2 … become 0, 1, 2, 3 …). Every number is a sequence
of half-bytes of three bits each, the lowest first, whose top bit says that more follow; eight of them fill a
little-endian 32-bit word from its top. In ROS the width and height, 32 bits each, precede the words.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import DataError

SIZE = struct.Struct("<II")
LONGEST = 10  # half-bytes of a 32-bit number


def decode(data: bytes | memoryview, most_pixels: int) -> NDArray[np.uint16]:
    """(H, W) units of depth. Raises DataError: too large, cut short, or of another number of pixels than declared."""
    if len(data) < SIZE.size:
        raise DataError(f"{len(data)} bytes of RVL, expected its width and height")
    width, height = SIZE.unpack_from(data)
    if not 0 < width * height <= most_pixels:
        raise DataError(f"an RVL image of {width}×{height} pixels, expected at most {most_pixels // 1_000_000} million")
    numbers = _numbers(data[SIZE.size :])
    measured = np.zeros(height * width, bool)
    steps = [np.empty(0, np.int32)]
    at = pixel = 0
    while pixel < measured.size:  # zeros, then measured pixels, one number each
        zeros, length = (int(number) for number in [*numbers[at : at + 2], -1, -1][:2])
        if length < 0 and pixel + zeros == measured.size:
            break  # the last run may end without a count of measured pixels
        first, pixel = pixel + zeros, pixel + zeros + length
        if min(zeros, length) < 0 or pixel > measured.size or at + 2 + length > len(numbers):
            raise DataError(f"RVL data cut short, or with a run beyond its {measured.size} pixels")
        measured[first:pixel] = True
        steps.append(numbers[at + 2 : at + 2 + length])
        at += 2 + length
    zigzag = np.concatenate(steps)
    units = np.zeros(measured.size, np.uint16)
    # Sixteen bits wrap around, as they do where it was encoded.
    units[measured] = np.cumsum((zigzag >> 1) ^ -(zigzag & 1)).astype(np.uint16)
    return units.reshape(height, width)


def _numbers(data: bytes | memoryview) -> NDArray[np.int32]:
    """All numbers that the words hold; the padding at the end may add a few zeros."""
    words = np.frombuffer(data, "<u4", count=len(data) // 4)
    columns = [(words >> shift & 15).astype(np.uint8) for shift in range(28, -1, -4)]
    half_bytes = np.stack(columns, axis=1).ravel()
    last = np.flatnonzero(half_bytes < 8).astype(np.int32)  # the last half-byte of each number
    if not len(last):
        raise DataError("RVL data in which no number ends")
    begins = np.concatenate((np.zeros(1, np.int32), last[:-1] + 1))
    lengths = last - begins + 1
    if int(lengths.max()) > LONGEST:
        raise DataError("RVL data with a number of more than 30 bits")
    values = (half_bytes[begins] & 7).astype(np.int32)
    for place in range(1, int(lengths.max())):
        more = np.flatnonzero(lengths > place)
        values[more] |= (half_bytes[begins[more] + place] & 7).astype(np.int32) << 3 * place
    return values
