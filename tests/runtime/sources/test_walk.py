"""What a folder holds: photographs, pairs and data sets by one rule, and a line about the rest."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening, walk
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import part_of


def picture(path: Path, kind: str = "colour") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = {
        "colour": np.full((8, 10, 3), 90, np.uint8),
        "depth": np.full((8, 10), 1500, np.uint16),
        "mask": np.eye(8, 10, dtype=np.uint8) * 255,
    }[kind]
    assert cv2.imwrite(str(path), pixels)
    return path


def found(root: Path) -> list[tuple[str, bool, bool]]:
    return [(entry.name, entry.depth is not None, entry.mask is not None) for entry in walk.walk(root)]


def test_a_tree_without_pictures_is_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
    (tmp_path / "b").mkdir()
    picture(tmp_path / "b" / "x.png")
    assert found(tmp_path) == [("b/x", False, False)]
    monkeypatch.setattr(walk, "MOST_BARREN", 20)
    with pytest.raises(CameraError, match="20 files and folders without a picture"):
        opening.camera(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "stem", "role"),
    [
        ("frame-000000.color.png", "frame-000000", "colour"),
        ("frame-000000.depth.png", "frame-000000", "depth"),
        ("f1_Depth_bin.PNG", "f1", "depth"),
        ("f1-GT.png", "f1", "mask"),
        ("IMG_01.jpg", "img_01", ""),
        ("frame.1", "frame.1", ""),
        ("rgb.png", "rgb", "colour"),
        ("hidden.png", "hidden", ""),
        (unicodedata.normalize("NFD", "café.jpg"), unicodedata.normalize("NFC", "café"), ""),
    ],
)
def test_the_parts_of_a_name(name: str, stem: str, role: str) -> None:
    assert part_of(name) == (stem, role)


def test_the_files_of_one_frame_are_paired_by_their_endings(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        picture(tmp_path / f"{number}_color.png")
        picture(tmp_path / f"{number}_depth.png", "depth")
        picture(tmp_path / f"{number}_gt.png", "mask")
    assert found(tmp_path) == [(f"{number}_color", True, True) for number in (1, 2, 10)]


def test_rgb_beside_depth_is_a_pair_and_not_two_photographs(tmp_path: Path) -> None:
    picture(tmp_path / "one/rgb.png")
    picture(tmp_path / "one/depth.png", "depth")
    assert found(tmp_path / "one") == [("rgb", True, False)]
    (frame,) = opening.camera(str(tmp_path / "one"))
    assert frame.depth[0, 0] == pytest.approx(1.5)


def test_data_sets_below_are_read_as_data_sets(tmp_path: Path) -> None:
    for sequence in ("seq1", "seq2"):
        for name in ("0", "1"):
            picture(tmp_path / sequence / "rgb" / f"{name}.png")
            picture(tmp_path / sequence / "depth" / f"{name}.png", "depth")
            picture(tmp_path / sequence / "GT" / f"{name}.png", "mask")
    assert found(tmp_path) == [(f"seq{s}/{n}", True, True) for s in (1, 2) for n in (0, 1)]


def test_depth_maps_and_masks_are_no_photographs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "lone.png", "depth")
    picture(tmp_path / "masks" / "x.png", "mask")
    (tmp_path / "b.dng").write_bytes(b"x")
    (tmp_path / "c.dng").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING, "mutualformer"):
        assert len(opening.frames(str(tmp_path))) == 1
    assert "left out: 2 .dng files, 1 depth maps without a colour picture, 1 files in folders of" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"no picture, but 2 \.dng files"):
        walk.walk(tmp_path)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere/a.png")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "root/link")
    os.symlink(tmp_path / "root", tmp_path / "elsewhere/loop")
    assert found(tmp_path / "root") == [("link/a", False, False)]


def test_names_that_differ_in_case_or_unicode_form_are_one_frame(tmp_path: Path) -> None:
    for number, (one, other) in enumerate((("IMG_01", "img_01"), ("café", unicodedata.normalize("NFD", "café")))):
        root = tmp_path / str(number)
        picture(root / "x" / f"{one}.png")
        picture(root / "y" / f"{other}.png", "depth")
        assert len(opening.frames(f"pairs:{root / 'x'},{root / 'y'}")) == 1


def test_a_pipe_named_like_a_picture_is_named_and_skipped(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    frames = opening.frames(str(tmp_path))
    with pytest.raises(DataError, match=r"b\.png"):
        [frames[index] for index in range(len(frames))]
