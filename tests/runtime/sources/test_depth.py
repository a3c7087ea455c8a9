"""Depth files: every kind of file gives the same metres, holes stay holes, and what is no depth map is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mutualformer.runtime.sources.depth import (
    DepthRule,
    hole_code,
    read_depth,
    read_stored_depth,
    to_metres,
    unrotated,
)
from mutualformer.runtime.sources.pictures import ImageError

MILLIMETRES = np.random.default_rng(0).integers(400, 5000, (24, 31)).astype(np.uint16)
MILLIMETRES[3:9, 4:11] = 0
METRES = MILLIMETRES.astype(np.float32) * np.float32(0.001)


def write_image(path: Path, image: NDArray[Any]) -> None:
    assert cv2.imwrite(str(path), image)


def write_exr(path: Path, image: NDArray[Any]) -> None:
    exr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": image}).write(str(path))


FILES: dict[str, Callable[[Path], None]] = {
    "depth.png": lambda path: write_image(path, MILLIMETRES),
    "depth.tiff": lambda path: write_image(path, MILLIMETRES),
    "depth.pgm": lambda path: write_image(path, MILLIMETRES),
    "three.png": lambda path: write_image(path, np.repeat(MILLIMETRES[..., None], 3, 2)),
    "float.tif": lambda path: write_image(path, METRES),
    "double.tif": lambda path: write_image(path, METRES.astype(np.float64)),
    "int.tif": lambda path: write_image(path, MILLIMETRES.astype(np.int32)),
    "depth.npy": lambda path: np.save(path, METRES),
    "channel.npy": lambda path: np.save(path, MILLIMETRES[..., None]),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(METRES.astype(np.float64))),
    "nan.npy": lambda path: np.save(path, np.where(METRES > 0, METRES, np.nan)),
    "negative.npy": lambda path: np.save(path, np.where(METRES > 0, METRES, -1)),
    "infinite.tif": lambda path: write_image(path, np.where(METRES > 0, METRES, np.inf).astype(np.float32)),
    "depth.exr": lambda path: write_exr(path, METRES),
    "half.exr": lambda path: write_exr(path, METRES.astype(np.float16)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_metres(tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    depth = read_depth(tmp_path / name)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, METRES, atol=0.002 if name.startswith("half") else 0)


UNITS = {"tum": 5000.0, "tenth of a millimetre": 10000.0, "centimetres": 100.0, "kitti": 256.0, "metres": 1.0}


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit: str) -> None:
    stored = np.minimum(np.rint(METRES * UNITS[unit]), 65000).astype(np.uint16)
    actual = to_metres(stored, DepthRule(units_per_metre=UNITS[unit]))
    np.testing.assert_allclose(actual, stored / UNITS[unit], rtol=1e-6)
    in_floats = to_metres(stored.astype(np.float32), DepthRule(units_per_metre=UNITS[unit]))
    np.testing.assert_array_equal(in_floats, actual)


def test_bits_rotated_as_in_sun_rgbd() -> None:
    stored = np.asarray((MILLIMETRES << 3) | (MILLIMETRES >> 13), np.uint16)
    np.testing.assert_array_equal(unrotated(stored, 3), MILLIMETRES)
    np.testing.assert_array_equal(to_metres(stored, DepthRule(rotate=3)), METRES)


@given(hnp.arrays(np.uint16, (5, 7)), st.integers(0, 15))
def test_rotation_is_undone(values: NDArray[np.uint16], bits: int) -> None:
    rotated = np.asarray((values.astype(np.uint32) << bits | values.astype(np.uint32) >> (16 - bits)) & 0xFFFF)
    np.testing.assert_array_equal(unrotated(rotated.astype(np.uint16), bits), values)


@pytest.mark.parametrize("code", [65535, 2047, 4095, 8191, 65534, 32767, 30000])
def test_a_top_code_is_a_hole(code: int) -> None:
    stored = np.where(MILLIMETRES > 0, MILLIMETRES, code).astype(np.uint16)
    assert hole_code(stored) == code
    np.testing.assert_array_equal(to_metres(stored), METRES)


def test_what_is_measured_is_no_hole() -> None:
    assert hole_code(MILLIMETRES) is None
    wall = MILLIMETRES.copy()
    wall[:, 10:] = 4000  # a flat wall far behind everything
    assert hole_code(wall) is None
    clipped = np.minimum(MILLIMETRES.astype(np.int64) * 13, 50000).astype(np.uint16)
    assert hole_code(clipped) is None  # saturated, with values all the way up to it
    assert hole_code(np.full((9, 9), 255, np.uint8)) is None
    assert to_metres(wall, DepthRule(hole=4000))[0, 20] == 0


def inverse8(metres: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip((1 / metres - 0.2) / 1.8 * 255 + 0.5, 0, 255).astype(np.uint8)


def test_8_bit_polarity_and_holes() -> None:
    plane = np.linspace(0.6, 4.5, 24 * 31, dtype=np.float32).reshape(24, 31)
    bright = inverse8(plane)
    np.testing.assert_allclose(to_metres(bright), plane, rtol=0.05)
    dark = 255 - bright
    np.testing.assert_allclose(to_metres(dark, DepthRule(polarity="near_dark")), to_metres(bright), rtol=1e-6)
    holed = dark.copy()
    holed[:4] = 0
    assert not to_metres(holed, DepthRule(polarity="near_dark"))[:4].any()
    unused = np.maximum(bright, 20)
    unused[:4] = 0
    assert not to_metres(unused)[:4].any()  # nothing lies between 0 and the rest
    bright[-1, -1] = 0
    assert to_metres(bright)[-1, -1] == pytest.approx(5.0)  # one pixel is the farthest


def test_an_8_bit_map_stored_as_16_bit() -> None:
    bright = inverse8(np.linspace(0.6, 4.5, 600, dtype=np.float32).reshape(20, 30))
    wide = to_metres(bright.astype(np.uint16) * 257, DepthRule(relative=True))
    np.testing.assert_allclose(wide, to_metres(bright), rtol=1e-6)


NO_DEPTH: dict[str, Callable[[Path], Any]] = {
    "is a colour picture": lambda p: write_image(
        p, cv2.applyColorMap((MILLIMETRES >> 5).astype(np.uint8), cv2.COLORMAP_JET)
    ),
    "expected a whole EXR file": lambda p: p.write_bytes(
        b"\x76\x2f\x31\x01\x02\0\0\0dataWindow\0box2i\0\x10\0\0\0" + bytes(400)
    ),
    "expected one depth map that the file holds whole": lambda p: p.write_bytes(huge_npy()),
    "expected a whole .npy file": lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': oh no}"),
    "declares object": lambda p: np.save(p.open("wb"), np.array([[{}]], object), allow_pickle=True),
    "declares complex128": lambda p: np.save(p.open("wb"), np.ones((3, 3), complex)),
    r"depth is \(2, 3, 4, 5\)": lambda p: np.save(p.open("wb"), np.ones((2, 3, 4, 5))),
    "expected integers of 8, 16 or 32 bits": lambda p: np.save(p.open("wb"), np.ones((3, 3), np.int64)),
}


def huge_npy() -> bytes:
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000), }"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64)


@pytest.mark.parametrize("message", NO_DEPTH)
def test_what_is_no_depth_map_is_one_sentence(tmp_path: Path, message: str) -> None:
    if "EXR" in message:
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    NO_DEPTH[message](tmp_path / "d.png")
    with pytest.raises(ImageError, match=message) as caught:
        read_stored_depth(tmp_path / "d.png")
    assert "d.png: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"units_per_metre": 0.0}, {"units_per_metre": float("nan")}, {"polarity": "up"}, {"rotate": 16}]
)
def test_rules_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        DepthRule(**changes)


def test_real_sensor_frames_have_no_hole_code() -> None:
    root = os.environ.get("MUTUALFORMER_DATA")
    if not root or not (Path(root) / "sensor_frames" / "depth").is_dir():
        pytest.skip("MUTUALFORMER_DATA does not name a folder with sensor_frames/depth")
    files = sorted((Path(root) / "sensor_frames" / "depth").iterdir())[::10]
    assert [hole_code(read_stored_depth(path)) for path in files] == [None] * len(files)
