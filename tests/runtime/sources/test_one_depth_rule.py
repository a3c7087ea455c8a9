"""One depth map gives the same metres through every address: by name, in folders, lists and bags, as an array."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mutualformer.runtime.prediction.accepted import frame_of
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.inputs import album
from tests.runtime.sources.bags.written import image, write_bag

SHAPE = (12, 15)
RGB = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
CODES = (0, 2047, 4095, 8191, 9999, 16383, 32767, 65534, 65535)


@st.composite
def stored(draw: st.DrawFn) -> NDArray[Any]:
    """A map as cameras and simulators store it: distances, holes, and a code in none, one or many of its pixels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.dtype(draw(st.sampled_from(["uint16", "int16", "int32", "float32"])))
    values = rng.integers(400, 4000, SHAPE).astype(dtype)
    share = draw(st.sampled_from([0.0, 0.004, 0.05, 0.4]))
    code = draw(st.sampled_from(CODES if dtype != np.int16 else [code for code in CODES if code <= 32767]))
    values[rng.random(SHAPE) < share] = code
    if dtype == np.float32:
        values = (values / 1000).astype(dtype)
        values[0, :3] = np.nan, np.inf, -1
    elif dtype != np.uint16:
        values[0, :2] = -1, -300
    return values


def expected(values: NDArray[Any], scale: float, holes: str) -> NDArray[np.float32]:
    """The rule of docs/data.md in plain words, pixel by pixel."""
    top = np.nanmax(values) if values.dtype.kind != "f" else 0
    count = sum(int(value == top) for value in values.flat)
    code = top if top in (2047, 4095, 8191, 16383, 32767) and count >= 0.01 * values.size else None
    metres = np.zeros(values.shape, np.float32)
    for place, value in np.ndenumerate(values):
        hole = not np.isfinite(value) or value <= 0
        if holes != "none":
            hole = hole or (values.dtype == np.uint16 and value == 65535) or (code is not None and value == code)
        if holes == "9999":
            hole = hole or value == 9999
        if not hole:
            metres[place] = np.float32(value) * np.float32(scale or (1 if values.dtype.kind == "f" else 0.001))
    return metres


def _query(scale: float, holes: str) -> str:
    said = [f"depth_scale={scale}"] * bool(scale) + [f"holes={holes}"] * bool(holes)
    return "?" + "&".join(said) if said else ""


def _played(address: str) -> NDArray[np.float32]:
    with closing(opening.camera(address)) as camera:
        frame = camera.read(5.0)
    assert frame is not None
    return frame.depth


def _readers(
    root: Path, values: NDArray[Any], scale: float, holes: str
) -> dict[str, Callable[[], NDArray[np.float32]]]:
    """Name → what reads the map, which is written to ``root`` in every way that holds it."""
    ending = ".png" if values.dtype == np.uint16 else ".tiff"
    for folder in ("set/RGB", "set/depth", "set/GT"):
        (root / folder).mkdir(parents=True)
    rgb, depth = root / "set/RGB/a.png", root / f"set/depth/a{ending}"
    assert cv2.imwrite(str(rgb), RGB)
    assert cv2.imwrite(str(depth), values)
    assert cv2.imwrite(str(root / "set/GT/a.png"), np.full(SHAPE, 255, np.uint8))
    (root / "set/rgb.txt").write_text("1.0 RGB/a.png\n", encoding="utf-8")
    (root / "set/depth.txt").write_text(f"1.0 depth/a{ending}\n", encoding="utf-8")
    options, query = ReadOptions(scale, holes), _query(scale, holes)
    pairs = f"pairs:{root}/set/RGB,{root}/set/depth{query}"
    readers: dict[str, Callable[[], NDArray[np.float32]]] = {
        "--depth FILE": lambda: album([str(rgb)], str(depth), options)[0].depth,
        "--depth FOLDER": lambda: album([str(rgb.parent)], str(depth.parent), options)[0].depth,
        "two files": lambda: album([str(rgb), str(depth)], None, options)[0].depth,
        "pairs, by number": lambda: opening.frames(pairs)[0].depth,
        "pairs, played": lambda: _played(pairs),
    }
    if scale or values.dtype.kind == "f":  # the convention of these lists is another one
        readers["tum"] = lambda: opening.frames(f"tum:{root}/set{query}")[0].depth
        readers["tum, played"] = lambda: _played(f"tum:{root}/set{query}")
    (root / "plain").mkdir()
    for folder in ("RGB", "depth", "GT"):
        (root / "set" / folder).rename(root / "plain" / folder)
        (root / "set" / folder).symlink_to(root / "plain" / folder)
    readers["a data set"] = lambda: opening.frames(f"{root}/plain{query}")[0].depth
    readers["a data set, played"] = lambda: _played(f"{root}/plain{query}")
    if not holes and (values.dtype.kind == "f") == (not scale):  # an array of integers has no convention
        readers["an array"] = lambda: frame_of(RGB, values, scale or None).depth
    if not holes:
        readers["a path in Python"] = lambda: frame_of(str(rgb), str(depth), scale or None).depth
        readers["bytes in Python"] = lambda: frame_of(RGB, depth.read_bytes(), scale or None).depth
    encoding = {"uint16": "16UC1", "int16": "16SC1", "float32": "32FC1"}.get(values.dtype.name)
    if encoding is not None:
        rows = [image("/c/color/image_raw", RGB, "rgb8"), image("/c/depth/image_raw", values, encoding)]
        write_bag(root / "bag.mcap", rows)
        readers["a bag"] = lambda: _played(f"rosbag:{root}/bag.mcap{query}")
    return readers


@settings(max_examples=25, deadline=None)
@given(values=stored(), scale=st.sampled_from([0.0, 0.001, 0.0002]), holes=st.sampled_from(["", "9999", "none"]))
def test_one_map_gives_the_same_metres_through_every_door(values: NDArray[Any], scale: float, holes: str) -> None:
    if values.dtype.kind == "f" and scale:
        scale = 1.0
    want = expected(values, scale, holes)
    with TemporaryDirectory() as folder:
        for address, read in _readers(Path(folder), values, scale, holes).items():
            np.testing.assert_array_equal(read(), want, err_msg=f"{address}, {values.dtype}, {_query(scale, holes)}")
