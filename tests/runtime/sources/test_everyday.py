"""Everyday sources: webcams, data sets, photographs, the real sample, rendered rooms."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError, CameraLost
from mutualformer.runtime.sources.devices import webcam
from mutualformer.runtime.sources.grammar import Address, parse
from mutualformer.runtime.sources.moving_room import MovingRoom
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.pictures import read_picture
from tests.runtime.prediction.conftest import write_pictures
from tests.runtime.sources.video.films import depth, film


def test_loops_and_rates(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", 3, depth=True)
    pairs = f"pairs:{tmp_path / 'set/RGB'},{tmp_path / 'set/depth'}"
    for address in (f"{tmp_path / 'set'}?fps=20&", f"{pairs}?fps=20&"):
        looped = list(itertools.islice(opening.camera(f"{address}loop=1"), 8))
        assert [frame.sequence for frame in looped] == list(range(8))
        assert np.array_equal(looped[0].rgb, looped[3].rgb)
        assert [frame.timestamp for frame in looped] == pytest.approx([number / 20 for number in range(8)])
        began = time.monotonic()
        list(opening.camera(f"{address}rate=2"))
        assert time.monotonic() - began > 0.04, "two gaps of 25 ms"


def test_a_loop_over_nothing_usable_ends(tmp_path: Path) -> None:
    for folder in ("RGB", "depth"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"x")
    assert list(opening.camera(f"{tmp_path}?loop=1")) == []
    assert list(opening.camera(f"pairs:{tmp_path / 'RGB'},{tmp_path / 'depth'}?loop=1")) == []


def test_data_sets_photographs_and_the_sample_are_sources(tmp_path: Path, samples: Path) -> None:
    write_pictures(tmp_path / "set", 3, depth=True)
    frames = list(opening.camera(str(tmp_path / "set")))
    assert len(frames) == 3
    assert all(frame.depth.max() > 0.4 for frame in frames)
    write_pictures(tmp_path / "photos", 2)
    for address in (str(tmp_path / "photos"), str(tmp_path / "photos/1.png"), f"dataset:{tmp_path / 'photos'}"):
        camera = opening.camera(address)
        assert all(not frame.depth.any() for frame in camera)
        assert sum("no depth" in sentence for sentence in camera.warnings) == 1
    (frame,) = list(opening.camera("sample:motorcycle"))
    picture = read_picture(samples / "motorcycle/rgb.png")
    assert np.array_equal(frame.rgb[..., ::-1], picture)
    assert len(list(opening.camera("synthetic:2?seed=5"))) == 2


def test_broken_frames_are_left_out_and_said(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3, depth=True)
    (tmp_path / "RGB/1.png").write_bytes(b"x")
    camera = opening.camera(str(tmp_path))
    assert [frame.sequence for frame in camera] == [0, 2]
    assert any("1.png" in sentence for sentence in camera.warnings)


def test_addresses_of_webcams() -> None:
    assert parse("0") == Address("webcam", "0", {})
    assert parse("/dev/video2?fps=15") == Address("webcam", "/dev/video2", {"fps": "15"})
    assert parse("webcam:1?size=320x240") == Address("webcam", "1", {"size": "320x240"})
    assert not parse("synthetic:9").played
    with pytest.raises(CameraError, match="/dev/videofront does not exist"):
        opening.camera("webcam:front")


class StandIn:
    """``cv2.VideoCapture`` of a camera that gives four frames of 64 × 48 and is then unplugged."""

    def __init__(self, device: int | str) -> None:
        self.device, self.count, self.released = device, 0, False
        self.settings: dict[int, float] = {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> bool:
        return key == cv2.CAP_PROP_FPS

    def get(self, key: int) -> float:
        return self.settings.get(key, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.count += 1
        if self.count > 4:
            return False, None
        return True, np.full((48, 64, 3), (10 * self.count, 0, 0), np.uint8)

    def release(self) -> None:
        self.released = True


def test_a_webcam_is_live_colour_without_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video3").touch()
    monkeypatch.setattr(webcam, "DEVICES", tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", StandIn)
    camera = opening.camera("3?size=640x480")
    assert camera.live
    frames = [camera.read() for _ in range(4)]
    assert [frame.rgb[0, 0].tolist() for frame in frames if frame] == [[0, 0, 10 * n] for n in range(1, 5)], "RGB order"
    assert any("no depth" in sentence for sentence in camera.warnings)
    assert any("gives 64×48 instead of 640x480" in sentence for sentence in camera.warnings)
    with pytest.raises(CameraLost, match="gives no picture any more"):
        camera.read()
    camera.close()
    assert camera._capture.released  # type: ignore[attr-defined]


def test_a_webcam_that_is_not_there_names_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video3").touch()
    monkeypatch.setattr(webcam, "DEVICES", tmp_path)
    with pytest.raises(CameraError, match="video0 does not exist; there is video3"):
        opening.camera("0")


@pytest.mark.parametrize("seed", range(4))
def test_a_room_moves_as_rooms_do(seed: int) -> None:
    """The picture slides as the camera turns, and depth stays with the pixels that it belongs to."""
    room = MovingRoom(seed, (60, 80))
    left, depth, salient = room.view(-1.0)
    right, _, salient_right = room.view(1.0)
    assert left.dtype == np.uint8
    assert depth.min() > 0
    assert 0.02 < salient.mean() < 0.6
    moved = np.flatnonzero(salient_right.any(0)).mean() - np.flatnonzero(salient.any(0)).mean()
    assert moved > 2, "the objects slide to the right"
    assert np.abs(left.astype(int) - right.astype(int)).mean() > 2
    assert np.median(depth[salient]) < np.median(depth[~salient][: 80 * 20])
    again = MovingRoom(seed, (60, 80)).view(-1.0)
    assert np.array_equal(left, again[0])
    assert np.array_equal(depth, again[1])


def test_depth_video_in_another_unit_is_said_with_the_option_that_would_fit(tmp_path: Path) -> None:
    film(tmp_path / "film.mkv", [10])
    depth(tmp_path / "depth.mkv", [15000])
    pipeline = Pipeline(lambda: opening.camera(f"video:{tmp_path / 'film.mkv'},{tmp_path / 'depth.mkv'}"))
    assert len(list(pipeline.results())) == 1
    assert pipeline.capture.camera is not None
    assert any("is depth_scale=0.0002 meant?" in w for w in pipeline.capture.camera.warnings)
