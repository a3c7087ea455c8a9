"""Depth files: every kind of file gives the same metres, holes stay holes, and other files are refused."""

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

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.depth import (
    FULL_SCALES,
    DepthRule,
    aligned,
    full_scale_code,
    parse_holes,
    read_depth,
    read_stored_depth,
    to_metres,
    unpacked,
)
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.inputs import album

MILLIMETRES = np.random.default_rng(0).integers(400, 5000, (24, 31)).astype(np.uint16)
MILLIMETRES[3:9, 4:11] = 0
METRES = MILLIMETRES.astype(np.float32) * np.float32(0.001)


def write_image(path: Path, image: NDArray[Any]) -> None:
    assert cv2.imwrite(str(path), image)


def write_exr(path: Path, image: NDArray[Any]) -> None:
    exr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": image}).write(str(path))


def pfm(image: NDArray[np.float32], order: str) -> bytes:
    rows, columns = image.shape
    return f"Pf\n{columns} {rows}\n{-1.0 if order[0] == '<' else 1.0}\n".encode() + image[::-1].astype(order).tobytes()


FILES: dict[str, Callable[[Path], Any]] = {
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
    "first.npy": lambda path: np.save(path, METRES[None]),
    "long.npy": lambda path: np.save(path, MILLIMETRES.astype(np.int64)),
    "little.pfm": lambda path: path.write_bytes(pfm(METRES, "<f4")),
    "big.pfm": lambda path: path.write_bytes(pfm(METRES, ">f4")),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_metres(tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    depth = read_depth(tmp_path / name)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, METRES, atol=0.002 if name.startswith("half") else 0)


SCALES = {"tum": 0.0002, "tenth of a millimetre": 0.0001, "centimetres": 0.01, "kitti": 1 / 256, "metres": 1.0}


@pytest.mark.parametrize("unit", SCALES)
def test_units(unit: str) -> None:
    stored = np.minimum(np.rint(METRES / SCALES[unit]), 65000).astype(np.uint16)
    actual = to_metres(stored, DepthRule(SCALES[unit]))
    np.testing.assert_allclose(actual, stored * SCALES[unit], rtol=1e-6)
    in_floats = to_metres(stored.astype(np.float32), DepthRule(SCALES[unit]))
    np.testing.assert_array_equal(in_floats, actual)


def test_bits_rotated_as_in_sun_rgbd_and_confidence_bits_of_android() -> None:
    stored = np.asarray((MILLIMETRES << 3) | (MILLIMETRES >> 13), np.uint16)
    np.testing.assert_array_equal(to_metres(stored, DepthRule(rotate=3)), METRES)
    confident = np.asarray(MILLIMETRES | (np.arange(31, dtype=np.uint16) % 8 << 13), np.uint16)
    np.testing.assert_array_equal(to_metres(confident, DepthRule(bits=13)), METRES)


@given(hnp.arrays(np.uint16, (5, 7)), st.integers(0, 15))
def test_rotation_is_undone(values: NDArray[np.uint16], bits: int) -> None:
    rotated = np.asarray((values.astype(np.uint32) << bits | values.astype(np.uint32) >> (16 - bits)) & 0xFFFF)
    np.testing.assert_array_equal(unpacked(rotated.astype(np.uint16), DepthRule(rotate=bits)), values)


@pytest.mark.parametrize("code", [65535, *FULL_SCALES])
def test_a_full_scale_code_is_a_hole_unless_holes_is_none(code: int) -> None:
    within = np.minimum(MILLIMETRES, code - 1)
    stored = np.where(MILLIMETRES > 0, within, code).astype(np.uint16)
    expected = np.where(MILLIMETRES > 0, within * np.float32(0.001), 0)
    np.testing.assert_allclose(to_metres(stored), expected, rtol=1e-6)
    assert to_metres(stored, DepthRule(none=True))[4, 5] == pytest.approx(code / 1000)
    few = MILLIMETRES.copy()
    few[few > code - 10] = code - 10
    few[0, 0] = code
    if code != 65535:  # one pixel of 744 is less than 1 %
        assert to_metres(few)[0, 0] == pytest.approx(code / 1000)
        few[0, :9] = code
        few[1, 0] = code + 1  # no full scale where anything lies beyond it
        assert full_scale_code(few) is None


@pytest.mark.parametrize("value", [9999, 4000, 30000, 65534])
def test_any_other_value_is_a_distance_unless_it_is_named(value: int) -> None:
    stored = np.where(MILLIMETRES > 0, MILLIMETRES, value).astype(np.uint16)
    assert to_metres(stored)[4, 5] == pytest.approx(value / 1000)
    assert to_metres(stored, DepthRule(holes=parse_holes(f"{value},77")[0]))[4, 5] == 0
    assert to_metres(stored.astype(np.float32), DepthRule(0.001, holes=(float(value),)))[4, 5] == 0


def test_negative_values_of_signed_integers_are_holes() -> None:
    signed = np.where(MILLIMETRES > 0, MILLIMETRES, -16).astype(np.int16)
    np.testing.assert_array_equal(to_metres(signed), METRES)


def test_depth_of_another_resolution_is_aligned_by_nearest_neighbour() -> None:
    enlarged, note = aligned(METRES, (48, 62))
    np.testing.assert_array_equal(enlarged, np.repeat(np.repeat(METRES, 2, 0), 2, 1))
    assert note is not None
    assert "31×24" in note
    assert aligned(METRES, METRES.shape) == (METRES, None)
    with pytest.raises(DataError, match="aligned"):
        aligned(METRES, (48, 80))


def at_random(kind: str, rng: np.random.Generator) -> NDArray[Any]:
    """A depth map as some device writes it."""
    shape = (24, 32)
    units = rng.integers(300, 6000, shape)
    makers: dict[str, Callable[[], NDArray[Any]]] = {
        "8 bit": lambda: rng.integers(0, 256, shape).astype(np.uint8),
        "16 bit": lambda: units.astype(np.uint16),
        "16 bit signed": lambda: np.where(rng.random(shape) < 0.2, -1, units).astype(np.int16),
        "32 bit": lambda: units.astype(np.int32),
        "float": lambda: np.where(rng.random(shape) < 0.2, np.nan, units / 1000).astype(np.float32),
    }
    stored = makers[kind]()
    if kind in ("16 bit", "32 bit"):
        for code in rng.choice([0, 2047, 4095, 9999, 16383, 65534, 65535], 2):
            stored[rng.random(shape) < 0.1] = code
    return stored


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "16 bit signed", "32 bit", "float"])
@given(seed=st.integers(0, 2**32 - 1))
def test_one_file_gives_the_same_metres_through_every_address(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    root, rng = tmp_path_factory.mktemp("one"), np.random.default_rng(seed)
    stored = at_random(kind, rng)
    for folder in ("RGB", "depth"):
        (root / folder).mkdir()
    name = "a.npy" if stored.dtype not in (np.uint8, np.uint16) else "a.png"
    write_image(root / "RGB" / "a.png", np.full((*stored.shape, 3), 90, np.uint8))
    if name == "a.npy":
        np.save(root / "depth" / name, stored)
    else:
        write_image(root / "depth" / name, stored)
    (root / "rgb.txt").write_text("0.0 RGB/a.png\n")
    (root / "depth.txt").write_text(f"0.0 depth/{name}\n")
    expected = read_depth(root / "depth" / name)
    pair = f"pairs:{root / 'RGB'},{root / 'depth'}"
    scale = "?depth_scale=0.001" if kind in ("16 bit", "16 bit signed", "32 bit") else ""
    seen = {
        "pairs": opening.frames(pair)[0].depth,
        "camera": next(iter(opening.camera(pair))).depth,
        "folders": album([str(root / "RGB")], depth=str(root / "depth"))[0].depth,
        "files": album([str(root / "RGB/a.png")], depth=str(root / "depth" / name))[0].depth,
    }
    if kind != "float":
        seen["tum"] = opening.frames(f"tum:{root}{scale}")[0].depth
    (root / "rgb.txt").unlink()
    seen["data set"] = opening.frames(str(root))[0].depth
    for address, depth in seen.items():
        np.testing.assert_array_equal(depth, expected, err_msg=address)


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
    bright[:4] = 0
    assert not to_metres(bright)[:4].any()  # 0 is no measurement whatever else the map holds


def test_an_8_bit_map_stored_as_16_bit() -> None:
    bright = inverse8(np.linspace(0.6, 4.5, 600, dtype=np.float32).reshape(20, 30))
    wide = to_metres(bright.astype(np.uint16) * 257, DepthRule(relative=True))
    np.testing.assert_allclose(wide, to_metres(bright), rtol=1e-6)


def crowded_exr(path: Path) -> None:
    write_exr(path.with_name("w.exr"), METRES)
    whole = path.with_name("w.exr").read_bytes()
    path.write_bytes(whole[:8] + b"".join(b"a%d\0int\0\4\0\0\0\0\0\0\0" % n for n in range(100_000)) + whole[8:])


NO_DEPTH: dict[str, Callable[[Path], Any]] = {
    "is a colour picture": lambda p: write_image(
        p, cv2.applyColorMap((MILLIMETRES >> 5).astype(np.uint8), cv2.COLORMAP_JET)
    ),
    "expected a whole EXR file": lambda p: p.write_bytes(
        b"\x76\x2f\x31\x01\x02\0\0\0dataWindow\0box2i\0\x10\0\0\0" + bytes(400)
    ),
    "its header has more than 1000 attributes": crowded_exr,
    "expected one depth map that the file holds whole": lambda p: p.write_bytes(huge_npy()),
    "expected a whole .npy file": lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': oh no}"),
    "declares object": lambda p: np.save(p.open("wb"), np.array([[{}]], object), allow_pickle=True),
    "declares complex128": lambda p: np.save(p.open("wb"), np.ones((3, 3), complex)),
    r"depth is \(2, 3, 4, 5\)": lambda p: np.save(p.open("wb"), np.ones((2, 3, 4, 5))),
    "expected integers of 8, 16 or 32 bits": lambda p: np.save(p.open("wb"), np.full((3, 3), 1 << 40)),
}


def huge_npy() -> bytes:
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000), }"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64)


@pytest.mark.parametrize("message", NO_DEPTH)
def test_what_is_no_depth_map_is_one_sentence(tmp_path: Path, message: str) -> None:
    if "EXR" in message:
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    NO_DEPTH[message](tmp_path / "d.png")
    with pytest.raises(DataError, match=message) as caught:
        read_stored_depth(tmp_path / "d.png")
    assert "d.png: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"depth_scale": 0.0}, {"depth_scale": float("nan")}, {"depth_scale": 5000.0}, {"polarity": "up"}, {"rotate": 16}],
)
def test_rules_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        DepthRule(**changes)


def test_real_sensor_frames_have_no_full_scale_code() -> None:
    root = os.environ.get("MUTUALFORMER_DATA")
    if not root or not (Path(root) / "sensor_frames" / "depth").is_dir():
        pytest.skip("MUTUALFORMER_DATA does not name a folder with sensor_frames/depth")
    files = sorted((Path(root) / "sensor_frames" / "depth").iterdir())[::10]
    assert [full_scale_code(read_stored_depth(path)) for path in files] == [None] * len(files)
