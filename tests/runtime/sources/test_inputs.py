"""What a SOURCE on the command line becomes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mutualformer.runtime.prediction.run import given_names
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.frame import DataError, name_of
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.inputs import SourceError, album, is_address, moments, stamp
from tests.runtime.prediction.conftest import write_pictures


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0", True),
        ("/dev/video0", True),
        ("realsense://", True),
        ("synthetic://?seed=1", True),
        ("pairs:a,b", False),
        ("synthetic:60?seed=3", False),
        ("sample:motorcycle", False),
        ("rgbd:/data/NLPR", False),
        ("nowhere", False),
    ],
)
def test_addresses_and_files_are_told_apart(text: str, address: bool) -> None:
    assert is_address(text) is address


def test_files_are_recognised_by_what_they_are(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "film.mp4").write_bytes(b"x")
    assert not is_address(str(tmp_path / "photos"))
    assert not is_address(str(tmp_path / "photos/0.png"))
    assert is_address(str(tmp_path / "film.mp4"))


def test_a_tree_of_photographs_keeps_its_folders_in_the_names(tmp_path: Path) -> None:
    write_pictures(tmp_path / "b", 11)
    write_pictures(tmp_path / "a/deep", 1)
    (tmp_path / "a/deep/0.jpg").write_bytes((tmp_path / "a/deep/0.png").read_bytes())
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/0.png").write_bytes(b"x")
    (tmp_path / "b/notes.txt").write_text("x")
    pictures = album([str(tmp_path)])
    names = [name_of(pictures, index) for index in range(len(pictures))]
    assert names[:2] == ["a/deep/0.jpg", "a/deep/0.png"], "equal but for the suffix: it stays"
    assert names[2:] == [f"b/{number}" for number in range(11)], "natural order"
    assert pictures[2].name == "b/0"
    assert not pictures[2].depth.any()


def test_a_data_set_s_folder_is_read_as_evaluate_reads_it(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3, depth=True)
    pictures, frames = album([str(tmp_path)]), opening.frames(str(tmp_path))
    assert len(pictures) == len(frames) == 3
    for index in range(3):
        item = pictures[index]
        assert item.depth.any()
        assert np.array_equal(item.rgb, frames[index].rgb)
        assert np.array_equal(item.depth, frames[index].depth)


def test_a_picture_followed_by_its_depth_map_is_a_pair_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pictures(tmp_path, 1, depth=True)
    with caplog.at_level(logging.INFO, "mutualformer"):
        pictures = album([str(tmp_path / "RGB/0.png"), str(tmp_path / "depth/0.png")])
    assert len(pictures) == 1
    assert "0.png is a depth map" in caplog.text
    assert pictures[0].depth.max() > 0.5


def test_a_depth_map_alone_is_no_photograph(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2, depth=True)
    for names in (["depth/0.png"], ["RGB/0.png", "RGB/1.png", "depth/1.png"]):
        with pytest.raises(DataError, match=r"depth/[01].png: is a depth map .* --depth"):
            album([str(tmp_path / name) for name in names])


def test_folders_of_colour_and_depth_are_paired_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path, 3, depth=True)
    (tmp_path / "depth/1.png").unlink()
    pictures = album([str(tmp_path / "RGB")], depth=str(tmp_path / "depth"))
    assert [name_of(pictures, index) for index in range(len(pictures))] == ["0", "2"]
    assert "1 images have no partner" in caplog.text
    with pytest.raises(DataError, match="expected two files or two folders"):
        album([str(tmp_path / "RGB")], depth=str(tmp_path / "depth/0.png"))
    with pytest.raises(SourceError, match="--depth belongs to one SOURCE, 2 are given"):
        album(["a", "b"], depth="c")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "npy"])
def test_depth_of_every_kind(tmp_path: Path, kind: str) -> None:
    write_pictures(tmp_path, 1)
    metres = np.linspace(0.5, 4.0, 40 * 60, dtype=np.float32).reshape(40, 60)
    path = tmp_path / {"uint8": "d.png", "uint16": "d.png", "float32": "d.tiff", "npy": "d.npy"}[kind]
    if kind == "npy":
        np.save(path, metres)
    else:
        stored = {
            "uint8": np.rint(255 * (4 - metres) / 4).astype(np.uint8),
            "uint16": np.rint(metres * 1000).astype(np.uint16),
            "float32": metres,
        }[kind]
        assert cv2.imwrite(str(path), stored)
    item = album([str(tmp_path / "0.png")], depth=str(path))[0]
    assert item.metric is (kind != "uint8")
    if item.metric:
        assert np.abs(item.depth - metres).max() < 0.00051
    else:
        assert (np.diff(item.depth[0]) >= 0).all(), "near is bright"


def test_several_sources_have_names_of_their_own(tmp_path: Path) -> None:
    write_pictures(tmp_path / "x", 2)
    write_pictures(tmp_path / "y", 2)
    pictures = album([str(tmp_path / "x"), str(tmp_path / "y"), str(tmp_path / "x/0.png"), str(tmp_path / "y/0.png")])
    names = [name_of(pictures, index) for index in range(len(pictures))]
    assert names == ["x/0", "x/1", "y/0", "y/1", "0", "0"]
    assert len(set(given_names(pictures))) == 6, "of files"
    assert all(pictures[index].name == name for index, name in enumerate(names))


def test_an_album_travels_to_other_processes(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3, depth=True)
    pictures = album([str(tmp_path)])
    copy = pickle.loads(pickle.dumps(pictures))
    assert len(copy) == 3
    assert stamp(copy, 1) == stamp(pictures, 1)
    assert np.array_equal(copy[1].rgb, pictures[1].rgb)
    with pytest.raises(IndexError):
        copy[3]


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    pictures = album([str(tmp_path)])
    before = stamp(pictures, 0)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((9, 9, 3), np.uint8))
    assert stamp(pictures, 0) != before


@pytest.mark.parametrize("text", ["nowhere", "sample:boat", "rgbd:/nowhere/NLPR", "synthetic:x"])
def test_what_does_not_exist_is_one_sentence(text: str) -> None:
    with pytest.raises((SourceError, DataError)) as caught:
        album([text])
    assert len(str(caught.value).splitlines()) == 1


def test_moments_stop_at_the_limit_and_carry_the_camera_s_depth() -> None:
    frames = list(moments("synthetic://?fps=0&size=64x48", 3))
    assert [item.name for item in frames] == ["synthetic-000000", "synthetic-000001", "synthetic-000002"]
    assert all(item.depth.any() for item in frames)
    with pytest.raises(CameraError, match="does not exist"):
        next(moments("99", None))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("0", "webcam-0"),
        ("/data/holiday.mp4", "holiday"),
        ("realsense://", "realsense"),
        ("video:/a/rgb.mp4,/a/depth.mkv", "rgb"),
        ("synthetic://?seed=3", "synthetic"),
    ],
)
def test_frames_are_named_after_their_source(address: str, name: str) -> None:
    assert parse(address).short == name


def room(root: Path, depth: Callable[[NDArray[np.float32]], NDArray[Any]], count: int = 4) -> list[str]:
    """Two folders of pairs: a floor that comes nearer towards the lower edge, before a wall."""
    metres = np.repeat(np.linspace(4, 1, 48, dtype=np.float32)[:, None], 64, axis=1)
    for index in range(count):
        for name, pixels in (("rgb", np.full((48, 64, 3), 90, np.uint8)), ("depth", depth(metres + index / 100))):
            (root / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / name / f"{index}.png"), pixels)
    return [str(root / "rgb"), str(root / "depth")]


def inverse8(metres: NDArray[np.float32]) -> NDArray[Any]:
    return np.rint((1 / metres - 0.2) / 1.8 * 255).astype(np.uint8)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("depth", "said"),
    [
        (lambda metres: (metres * 1000).astype(np.uint16), ""),
        (inverse8, ""),
        (lambda metres: (metres * 5000).astype(np.uint16), "depth_scale="),
        (lambda metres: (metres * 100).astype(np.uint16), "depth_scale="),
        (lambda metres: 255 - inverse8(metres), "near_dark"),
    ],
)
def test_depth_beside_pictures_is_judged_as_in_a_data_set(
    tmp_path: Path,
    depth: Callable[[NDArray[np.float32]], NDArray[Any]],
    said: str,
    single: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = room(tmp_path, depth)
    files = [f"{first}/0.png", f"{second}/0.png"] if single else [first, second]
    with caplog.at_level(logging.WARNING, "mutualformer"):
        album([files[0]], depth=files[1])
    assert said in caplog.text
    assert bool(said) == bool(caplog.records)


def test_a_polarity_is_honoured_for_maps_of_any_kind_and_a_unit_for_bytes(tmp_path: Path) -> None:
    first, second = room(tmp_path / "wide", lambda metres: inverse8(metres).astype(np.uint16) * 257)
    wide = album([first], second, ReadOptions(polarity="near_bright"))[0]
    narrow = album([room(tmp_path / "narrow", inverse8)[0]], str(tmp_path / "narrow/depth"))[0]
    np.testing.assert_allclose(wide.depth, narrow.depth, rtol=1e-5)
    assert not wide.metric
    first, second = room(tmp_path / "decimetres", lambda metres: np.rint(metres * 10).astype(np.uint8))
    item = album([first], second, ReadOptions(depth_scale=0.1))[0]
    assert item.metric
    np.testing.assert_allclose(item.depth[:, 0], np.linspace(4, 1, 48), atol=0.06)


@pytest.mark.parametrize(
    ("scale", "polarity", "message"), [(1000.0, "", "metres per unit"), (0.001, "near_dark", "give one of them")]
)
def test_depth_options_that_make_no_sense_are_refused(
    tmp_path: Path, scale: float, polarity: str, message: str
) -> None:
    first, second = room(tmp_path, inverse8)
    with pytest.raises(DataError, match=message):
        album([first], second, ReadOptions(scale, polarity=polarity))
