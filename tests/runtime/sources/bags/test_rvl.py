"""RVL depth: what the paper's encoder writes comes back exactly, and broken bytes are refused within bounds."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mutualformer.runtime.sources.bags.rvl import SIZE, decode
from mutualformer.runtime.sources.frame import DataError

MOST = 1 << 20


def encode(image: NDArray[np.uint16]) -> bytes:
    """Wilson 2017, appendix, pixel by pixel; the size of ROS before it."""
    half_bytes: list[int] = []

    def write(number: int) -> None:
        while True:
            half_bytes.append(number & 7 | (8 if number >> 3 else 0))
            number >>= 3
            if not number:
                return

    values, at, before = image.ravel().tolist(), 0, 0
    while at < len(values):
        start = at
        while at < len(values) and not values[at]:
            at += 1
        write(at - start)
        end = at
        while end < len(values) and values[end]:
            end += 1
        write(end - at)
        for value in values[at:end]:
            step, before = value - before, value
            write((step << 1) ^ (step >> 31))
        at = end
    half_bytes += [0] * (-len(half_bytes) % 8)
    words = [
        sum(half << 28 - 4 * place for place, half in enumerate(half_bytes[k : k + 8]))
        for k in range(0, len(half_bytes), 8)
    ]
    return SIZE.pack(image.shape[1], image.shape[0]) + struct.pack(f"<{len(words)}I", *words)


def test_bytes_worked_out_by_hand() -> None:
    """2 zeros, 3 pixels 1, 3, 2: half-bytes 2, 3, then the steps +1, +2, -1 as 2, 4, 1; 1 zero, no pixel: 1, 0."""
    data = SIZE.pack(3, 2) + struct.pack("<I", 0x23241100)
    assert decode(data, MOST).tolist() == [[0, 0, 1], [3, 2, 0]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.9, 1.0]))
def test_every_image_comes_back_exactly(height: int, width: int, seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    walk = rng.integers(0, 65536) + np.cumsum(rng.integers(-400, 400, (height, width)), axis=1)
    image = walk.astype(np.uint16)
    image[rng.random((height, width)) < holes] = 0
    assert np.array_equal(decode(encode(image), MOST), image)


def test_the_largest_steps_wrap_as_sixteen_bits_do() -> None:
    image = np.array([[65535, 1, 65535, 0, 32768, 1]], np.uint16)
    assert np.array_equal(decode(encode(image), MOST), image)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected its width and height"),
        (SIZE.pack(0, 9), "0×9 pixels"),
        (SIZE.pack(2**32 - 1, 2**32 - 1), "expected at most 1 million"),
        (SIZE.pack(3, 2), "no number ends"),
        (SIZE.pack(3, 2) + struct.pack("<I", 0x22200000), "run beyond"),
        (SIZE.pack(3, 2) + struct.pack("<I", 0x70000000), "run beyond"),
        (SIZE.pack(3, 2) + struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFF0), "more than 30 bits"),
    ],
)
def test_broken_bytes_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        decode(data, MOST)


def test_a_cut_anywhere_is_refused_or_was_padding() -> None:
    image = np.random.default_rng(0).integers(0, 3000, (9, 11)).astype(np.uint16)
    whole = encode(image)
    for length in range(len(whole)):
        with pytest.raises(DataError):
            decode(whole[:length], MOST)
