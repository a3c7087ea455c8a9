"""Folders and the synthetic scene as sources, and what the user reads when an address is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.folders.tum_lists import associate


def write_tum(folder: Path, colour: list[float], depth: list[float], units: int = 5000) -> None:
    """A TUM folder the way the benchmark's own tools write it: comments, own timestamps per sensor."""
    for kind, stamps in (("rgb", colour), ("depth", depth)):
        (folder / kind).mkdir(parents=True)
        lines = [f"# {kind} images", "# file: 'sequence.bag'", "# timestamp filename"]
        for index, stamp in enumerate(stamps):
            name = f"{kind}/{stamp:.6f}.png"
            if kind == "rgb":
                image = np.full((12, 16, 3), (index, 20, 200), np.uint8)  # BGR
            else:
                image = np.full((12, 16), units + index, np.uint16)
                image[0, :4] = 0
            assert cv2.imwrite(str(folder / name), image)
            lines.append(f"{stamp:.6f} {name}")
        (folder / f"{kind}.txt").write_text("\n".join(lines) + "\n")


def test_a_tum_folder_with_its_own_timestamps_and_gaps(tmp_path: Path) -> None:
    start = 1305031102.175304
    colour = [start + k / 30 for k in range(10)]
    depth = [start + k / 30 + 0.007 for k in range(10) if k not in (3, 7)]
    write_tum(tmp_path, colour, depth)
    camera = opening.camera(str(tmp_path))  # a bare folder is recognised
    frames = list(camera)
    assert [round((f.timestamp - start) * 30) for f in frames] == [0, 1, 2, 4, 5, 6, 8, 9]
    assert all(f.skew == pytest.approx(-0.007, abs=1e-5) for f in frames)
    first = frames[0]
    assert first.rgb.dtype == np.uint8
    assert tuple(first.rgb[0, 0]) == (200, 20, 0), "RGB order"
    assert first.depth.dtype == np.float32
    assert first.depth[5, 5] == pytest.approx(1.0)
    assert np.all(first.depth[0, :4] == 0), "0 = no measurement"
    assert "2 of 10 colour images have no depth" in camera.warnings[0]
    assert not camera.live


def test_tum_scale_intrinsics_and_unreadable_images(tmp_path: Path) -> None:
    write_tum(tmp_path, [0.0, 0.1, 0.2], [0.0, 0.1, 0.2], units=1000)
    (tmp_path / "depth/0.100000.png").write_bytes(b"not a png")
    camera = opening.camera(f"tum:{tmp_path}?depth_scale=0.001&fx=500&fy=510&cx=8&cy=6")
    frames = list(camera)
    assert [f.sequence for f in frames] == [0, 2]
    assert frames[0].depth[5, 5] == pytest.approx(1.0)
    assert camera.intrinsics is not None
    assert camera.intrinsics.fy == 510
    assert any("0.100000.png" in warning for warning in camera.warnings)


@pytest.mark.parametrize("seed", range(3))
def test_association_is_one_to_one_nearest_and_within_the_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    colour = [(float(t), f"c{t}") for t in np.sort(rng.uniform(0, 10, 200))]
    depth = [(float(t), f"d{t}") for t in np.sort(rng.uniform(0, 10, 170))]
    pairs = associate(colour, depth, 0.02)
    assert len({c for c, _ in pairs}) == len({d for _, d in pairs}) == len(pairs) > 20
    assert all(abs(c[0] - d[0]) <= 0.02 for c, d in pairs)
    assert pairs == sorted(pairs)
    for c, d in pairs:  # no colour image and no depth map is nearer to either of them but one with a nearer partner
        nearer = [other for other in colour if abs(other[0] - d[0]) < abs(c[0] - d[0])]
        assert all(any(o == one and abs(o[0] - p[0]) <= abs(o[0] - d[0]) for o, p in pairs) for one in nearer)


def test_pairs_of_colour_with_depth_or_infrared(tmp_path: Path) -> None:
    for folder in ("rgb", "depth", "nir"):
        (tmp_path / folder).mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"rgb/{k:02d}.png"), np.full((8, 10, 3), k, np.uint8))
        cv2.imwrite(str(tmp_path / f"depth/{k:02d}.png"), np.full((8, 10), 1500, np.uint16))
        cv2.imwrite(str(tmp_path / f"nir/{k:02d}.png"), np.full((8, 10), 9 + k, np.uint8))
    (tmp_path / "rgb/alone.png").write_bytes((tmp_path / "rgb/00.png").read_bytes())
    camera = opening.camera(f"pairs:{tmp_path}/rgb,{tmp_path}/depth")
    frames = list(camera)
    assert [f.rgb[0, 0, 0] for f in frames] == [0, 1, 2]
    assert frames[1].depth[0, 0] == pytest.approx(1.5)
    assert "1 images have no partner" in camera.warnings[0]
    with_nir = list(opening.camera(f"pairs:{tmp_path}/rgb,{tmp_path}/nir?nir=1"))
    assert with_nir[2].nir is not None
    assert with_nir[2].nir.shape == (8, 10, 3)
    assert with_nir[2].nir[0, 0, 0] == 11


def test_the_synthetic_scene_is_seeded_metric_and_moving() -> None:
    first, again = (list(opening.camera("synthetic://?seed=4&fps=0&frames=6&size=96x64")) for _ in range(2))
    assert all(
        np.array_equal(a.rgb, b.rgb) and np.array_equal(a.depth, b.depth) for a, b in zip(first, again, strict=True)
    )
    other = next(iter(opening.camera("synthetic://?seed=5&fps=0&frames=1&size=96x64")))
    assert not np.array_equal(first[0].rgb, other.rgb)
    assert not np.array_equal(first[0].rgb, first[5].rgb)
    depth = first[0].depth
    assert depth.dtype == np.float32
    assert 0.005 < (depth == 0).mean() < 0.2
    assert 0.5 < depth[depth > 0].min() < depth.max() < 4.2


def test_the_live_synthetic_scene_keeps_its_rate_and_drops_for_late_readers() -> None:
    camera = opening.camera("synthetic://?fps=50&size=64x48")
    camera.read()
    began = time.monotonic()
    time.sleep(0.21)
    late = camera.read()
    assert late is not None
    passed = 50 * (time.monotonic() - began)
    assert 9 <= late.sequence <= passed + 3, "about ten frames passed while nobody read"
    began = time.monotonic()
    for _ in range(10):
        camera.read()
    assert 0.1 < time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere", "neither an existing file or folder nor one of the sources"),
        ("gopro://0", "neither an existing file or folder nor one of the sources"),
        ("synthetic://?colour=red", "no option 'colour'; it accepts: fps"),
        ("synthetic://?seed=x", "is not a whole number"),
        ("synthetic://?size=big", "is not WIDTHxHEIGHT"),
        ("synthetic://?size=64²x48", "is not WIDTHxHEIGHT"),
        ("synthetic://?size=0x48", "is not WIDTHxHEIGHT"),
        ("synthetic://?size=99999x99999", "is not WIDTHxHEIGHT"),
        ("tum:/nonexistent", "rgb.txt is missing"),
        ("pairs:/only-one", "expected two folders"),
        *((f"{kind}{'x' * 300}", "longer than any name") for kind in ("", "tum:", "recording:/", "pairs:/tmp,")),
        ("video:" + "/x" * 3000, "longer than any name"),
    ],
)
def test_a_wrong_address_is_one_sentence(uri: str, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        opening.camera(uri)
    assert "\n" not in str(caught.value)


def test_bare_paths_are_recognised_by_content(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CameraError, match=r"holds neither rgb\.txt"):
        opening.camera(str(tmp_path / "empty"))
    (tmp_path / "film.xyz").write_bytes(b"x")
    with pytest.raises(CameraError, match=r"no recording .*, video or picture that this program knows"):
        opening.camera(str(tmp_path / "film.xyz"))
    real, ros = tmp_path / "a.bag", tmp_path / "b.bag"
    real.write_bytes(b"#ROSBAG V2.0\n" + b"\0" * 5000 + b"/device_0/sensor_0/Depth_0/image/data")
    ros.write_bytes(b"#ROSBAG V2.0\n" + b"\0" * 5000 + b"/camera/color/image_raw")
    assert opening.resolved(str(real)).kind == "realsense-file"
    assert opening.resolved(str(ros)).kind == "rosbag"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for uri, extra in (("realsense://", "realsense"), ("oak://", "oak"), ("orbbec://", "orbbec")):
        with pytest.raises(CameraError, match=rf"\[{extra}\]"):
            opening.camera(uri)
