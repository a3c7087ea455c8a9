"""Seeking in files that a child process reads: it gives the very frames that playing from the start gives."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraTimeout
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.frame import Frame
from tests.runtime.sources.video.films import depth, film, grey, units, write

COUNT = 40


def following(camera: BaseCamera) -> Frame | None:
    while True:
        with contextlib.suppress(CameraTimeout):
            return camera.read(5.0)


def open_child(target: str) -> BaseCamera:
    camera = opening.camera(target)
    assert isinstance(camera, ChildCamera)
    assert camera.seekable
    return camera


def check(target: str) -> None:
    """Frames of every part of the file, also in front of the last one and after the end."""
    with open_child(target) as camera:
        frames = list(camera)
        assert len(frames) == COUNT
        assert following(camera) is None
        places = [frame.position for frame in frames if frame.position is not None]
        assert places == sorted(places)
        assert places[0] == pytest.approx(0, abs=0.01)
        assert places[-1] == pytest.approx(1, abs=0.05)
        for number in (COUNT - 2, 0, 21, 22, 5):
            camera.seek(places[number] - 1e-4)
            sought, after = following(camera), following(camera)
            assert sought is not None
            assert after is not None
            for frame, wanted in ((sought, frames[number]), (after, frames[number + 1])):
                assert frame.timestamp == wanted.timestamp
                assert np.array_equal(frame.rgb, wanted.rgb)
                assert np.array_equal(frame.depth, wanted.depth)
        while following(camera) is not None:
            pass
        camera.seek(0.0)
        assert following(camera) is not None


@pytest.mark.parametrize(
    ("ending", "codec", "pixels", "begin"), [("mkv", "ffv1", "bgr0", 60.0), ("mp4", "mpeg4", "yuv420p", 0.0)]
)
def test_a_film(tmp_path: Path, ending: str, codec: str, pixels: str, begin: float) -> None:
    pictures = [(begin + n / 15, grey(20 + 5 * n)) for n in range(COUNT)]
    check(str(write(tmp_path / f"a.{ending}", (codec, pixels, "", pictures))))


def test_colour_and_depth_in_two_files_and_in_one(tmp_path: Path) -> None:
    levels = [20 + 5 * n for n in range(COUNT)]
    film(tmp_path / "colour.mkv", levels)
    depth(tmp_path / "depth.mkv", [1000 + n for n in levels])
    check(f"video:{tmp_path}/colour.mkv,{tmp_path}/depth.mkv")
    tracks = (
        [(n / 20, grey(level)) for n, level in enumerate(levels)],
        [(n / 20, units(level)) for n, level in enumerate(levels)],
    )
    check(str(write(tmp_path / "both.mkv", ("ffv1", "bgr0", "", tracks[0]), ("ffv1", "gray16le", "", tracks[1]))))


@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
def test_a_bag(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed (pip install rosbags)")
    from rosbags.rosbag2 import StoragePlugin

    from tests.runtime.sources.bags.test_rosbag import START, Bag

    storage = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
    path = tmp_path / ("a.bag" if kind == "bag" else "a")
    bag = Bag(path, 1 if kind == "bag" else 2, storage)
    for number in range(COUNT):
        bag.image("/camera/depth", units(1000 + number), "16UC1", START + number / 20 + 0.001)
        bag.image("/camera/colour", grey(20 + 5 * number), "rgb8", START + number / 20 + 0.002)
    bag.writer.close()
    check(str(path))


def test_speed_can_be_changed_while_it_plays(tmp_path: Path) -> None:
    film(tmp_path / "b.mkv", [10, 20, 30], [0.0, 1.0, 2.0])
    with open_child(f"video:{tmp_path}/b.mkv?rate=0.001") as camera:
        assert following(camera) is not None
        with pytest.raises(CameraTimeout):
            camera.read(0.3)
        camera.rate = 0.0
        assert following(camera) is not None
        assert following(camera) is not None


def test_what_has_no_clock_says_that_it_cannot_seek(tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", [10, 20, 30])
    with opening.camera(f"video:{tmp_path}/a.mkv?fps=10") as camera:  # type: ignore[attr-defined]
        assert not camera.seekable
        with pytest.raises(CameraError, match="seek"):
            camera.seek(0.5)
        assert all(frame.position is None for frame in camera)
