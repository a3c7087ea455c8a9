"""Films: their own times, their tracks, depth beside colour, and what is corrupt, turned, transparent or no film."""

from __future__ import annotations

import os
import signal
import struct
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.video import player
from tests.runtime.sources.video.films import depth, film, grey, units, write


def play(target: str, **query: str) -> tuple[list[Frame], list[str]]:
    """Frames and warnings, read in this process."""
    camera = player.open_source(target, query)
    return list(camera), camera.warnings


def metres(frames: list[Frame]) -> list[float]:
    return [round(float(frame.depth[3, 3]), 4) for frame in frames]


def times(frames: list[Frame]) -> list[float]:
    return [round(frame.timestamp, 3) for frame in frames]


def test_a_video_alone_says_once_that_depth_is_missing(tmp_path: Path) -> None:
    film(tmp_path / "film.mkv", [10, 20, 30])
    camera = opening.camera(str(tmp_path / "film.mkv"))
    frames = list(camera)
    assert [int(frame.rgb[5, 5, 0]) for frame in frames] == pytest.approx([10, 20, 30], abs=1)
    assert times(frames) == [0, 0.05, 0.1]
    assert not any(frame.depth.any() for frame in frames)
    assert sum("no depth" in sentence for sentence in camera.warnings) == 1
    assert not camera.live


def test_an_animated_gif_is_a_film(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(grey(level)) for level in (20, 120, 220)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    frames, _ = play(str(tmp_path / "a.gif"))
    assert [int(frame.rgb[5, 5, 0]) for frame in frames] == pytest.approx([20, 120, 220], abs=8)
    assert times(frames) == [0, 0.1, 0.2]


@pytest.mark.parametrize(("name", "codec", "pixels"), [("a.mkv", "ffv1", "bgr0"), ("a.mp4", "mpeg4", "yuv420p")])
@pytest.mark.parametrize("begin", [0.0, 60.0])
def test_the_time_of_a_frame_is_the_file_s_own(
    tmp_path: Path, name: str, codec: str, pixels: str, begin: float
) -> None:
    stamps = [begin + t for t in (0, 0.1, 0.2, 2.0, 2.1, 5.0)]
    path = write(tmp_path / name, (codec, pixels, "", [(t, grey(20 * n)) for n, t in enumerate(stamps)]))
    frames, _ = play(str(path))
    assert [t - frames[0].timestamp for t in times(frames)] == pytest.approx([t - begin for t in stamps], abs=0.002)
    frames, _ = play(str(path), fps="10")
    assert times(frames) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_video_with_a_depth_video_is_exact(tmp_path: Path) -> None:
    target = f"{film(tmp_path / 'film.mkv', [10, 20, 30])},{depth(tmp_path / 'depth.mkv', [1000, 1501, 0])}"
    camera = opening.camera(f"video:{target}")
    assert metres(list(camera)) == [1.0, 1.501, 0.0]
    assert camera.warnings == []
    assert camera.depth_scale == 0.001
    assert metres(play(target, depth_scale="0.0002")[0]) == [0.2, 0.3002, 0.0]
    with pytest.raises(CameraError, match=r"5000 units a metre are depth_scale=0\.0002"):
        play(target, depth_scale="5000")


def test_colour_and_depth_of_other_rates_and_beginnings_are_paired_by_time(tmp_path: Path) -> None:
    colour = film(tmp_path / "c.mkv", list(range(0, 240, 10)), [n / 30 for n in range(24)])
    slow = depth(tmp_path / "d15.mkv", [1000 + 100 * n for n in range(12)], [n / 15 for n in range(12)])
    late = depth(tmp_path / "late.mkv", [1000 + 50 * n for n in range(4, 24)], [n / 30 for n in range(4, 24)])
    for other, count in ((slow, 12), (late, 20)):
        frames, warnings = play(f"{colour},{other}")
        assert len(frames) == count
        for frame in frames:
            assert frame.depth[0, 0] == pytest.approx(1 + 0.05 * round(frame.timestamp * 30), abs=1e-5)
            assert frame.rgb[0, 0, 0] == pytest.approx(10 * round(frame.timestamp * 30), abs=1)
        assert any(f"{24 - count} colour images have no depth at their time" in warning for warning in warnings)


def kinect(path: Path, *more: str, first: str = "COLOR", size: tuple[int, int] = (48, 64)) -> Path:
    """A file of a colour track and a depth track, ``first`` of them, and ``more`` tracks of 16-bit grey."""
    moments = [n / 15 for n in range(4)]
    colour = ("ffv1", "bgr0", "COLOR", [(t, grey(50 + n)) for n, t in enumerate(moments)])
    deep = ("ffv1", "gray16le", "DEPTH", [(t, units(1500 + n, size)) for n, t in enumerate(moments)])
    others = [("ffv1", "gray16le", title, [(t, units(77)) for t in moments]) for title in more]
    return write(path, *([colour, deep] if first == "COLOR" else [deep, colour]), *others)


@pytest.mark.parametrize("first", ["COLOR", "DEPTH"])
@pytest.mark.parametrize("more", [(), ("IR",)])
def test_a_kinect_recording_plays_both_tracks_whichever_comes_first(
    tmp_path: Path, first: str, more: tuple[str, ...]
) -> None:
    frames, warnings = play(str(kinect(tmp_path / "k.mkv", *more, first=first)))
    assert metres(frames) == [1.5, 1.501, 1.502, 1.503]
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == pytest.approx([50, 51, 52, 53], abs=1)
    assert any("taken as aligned" in warning for warning in warnings)


def test_tracks_that_could_be_meant_are_named_and_chosen(tmp_path: Path) -> None:
    path = kinect(tmp_path / "k.mkv", "IR", "DEPTH raw")
    with pytest.raises(CameraError, match=r"3 depth tracks among 1 \(DEPTH\), 2 \(IR\).*depth_track=NUMBER"):
        play(str(path))
    assert metres(play(str(path), depth_track="1")[0])[0] == 1.5
    with pytest.raises(CameraError, match="0 depth tracks among"):
        play(str(path), depth_track="9")
    two = write(tmp_path / "t.mkv", *(("ffv1", "bgr0", "", [(0.0, grey(level))]) for level in (10, 90)))
    frames, warnings = play(str(two))
    assert frames[0].rgb[0, 0, 0] == pytest.approx(10, abs=1)
    assert any("another one is played with ?track=NUMBER" in warning for warning in warnings)
    assert play(str(two), track="1")[0][0].rgb[0, 0, 0] == pytest.approx(90, abs=1)
    alone = depth(tmp_path / "d.mkv", [1000])
    with pytest.raises(CameraError, match="has 0 colour tracks among 0"):
        play(str(alone))
    assert len(play(str(alone), track="0")[0]) == 1


def test_depth_of_another_resolution_is_enlarged_and_of_another_shape_refused(tmp_path: Path) -> None:
    frames, warnings = play(str(kinect(tmp_path / "k.mkv", size=(24, 32))))
    assert frames[0].depth.shape == (48, 64)
    assert sum("is enlarged to 64×48 by nearest neighbour" in warning for warning in warnings) == 1
    with pytest.raises(CameraError, match="must be aligned"):
        play(str(kinect(tmp_path / "w.mkv", size=(48, 48))))


def test_a_grey_depth_video_of_8_bits_has_no_unit(tmp_path: Path) -> None:
    address = f"{film(tmp_path / 'film.mkv', [10, 20])},{film(tmp_path / 'relative.mkv', [50, 200])}"
    with pytest.raises(CameraError, match="depth of 8 bits has no unit"):
        play(address)
    far, near = metres(play(address, relative="1")[0])
    assert far > near > 0
    bright = np.zeros((48, 64, 3), np.uint8)
    bright[..., 0] = 200
    write(tmp_path / "paint.mkv", ("ffv1", "bgr0", "", [(0.0, bright)]))
    with pytest.raises(CameraError, match="colourised depth is lost"):
        play(f"{tmp_path / 'film.mkv'},{tmp_path / 'paint.mkv'}", relative="1")


def test_a_film_loops_and_keeps_its_speed(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [10, 20, 30])
    looped = list(islice(player.open_source(str(path), {"loop": "1"}), 8))
    assert [frame.sequence for frame in looped] == list(range(8))
    assert np.array_equal(looped[0].rgb, looped[3].rgb)
    assert times(looped) == pytest.approx([number / 20 for number in range(8)])
    began = time.monotonic()
    play(str(path), rate="2")
    assert time.monotonic() - began > 0.04, "two gaps of 25 ms"


def test_a_video_whose_name_is_not_utf_8_plays(tmp_path: Path) -> None:
    film(tmp_path / "film.mkv", [10, 20])
    odd = os.fsencode(tmp_path) + b"/\xca\xfd.mkv"
    os.rename(tmp_path / "film.mkv", odd)
    assert len(list(opening.camera(os.fsdecode(odd)))) == 2


@pytest.mark.parametrize("data", [b"", b"x" * 1000, b"RIFF\x00\x10\x00\x00AVI LIST"])
def test_what_is_no_video_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "film.avi").write_bytes(data)
    with pytest.raises(CameraError, match=r"film\.avi: cannot be opened as a video"):
        opening.camera(str(tmp_path / "film.avi"))


def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path) -> None:
    film(tmp_path / "film.mkv", [10, 20])
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile film.mkv\n")
    with pytest.raises(CameraError, match=r"list\.mp4"):
        list(opening.camera(str(tmp_path / "list.mp4")))


def turned(path: Path, a: int, b: int) -> Path:
    """A film whose upper half is bright, with a display matrix (a b, -b a) in its header."""
    picture = grey(0)
    picture[:24] = 200
    write(path, ("mpeg4", "yuv420p", "", [(n / 20, picture) for n in range(2)]))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def bright_side(frame: Frame) -> str:
    sides = {"up": frame.rgb[:12], "down": frame.rgb[-12:], "left": frame.rgb[:, :12], "right": frame.rgb[:, -12:]}
    return max(sides, key=lambda side: float(sides[side].mean()))


@pytest.mark.parametrize(("a", "b", "side"), [(1, 0, "up"), (0, 1, "right"), (-1, 0, "down"), (0, -1, "left")])
def test_a_film_is_upright_alone_and_as_stored_beside_depth(tmp_path: Path, a: int, b: int, side: str) -> None:
    path = turned(tmp_path / "film.mp4", a, b)
    frames, _ = play(str(path))
    assert bright_side(frames[0]) == side
    assert frames[0].rgb.shape == ((48, 64, 3) if b == 0 else (64, 48, 3))
    frames, warnings = play(f"{path},{depth(tmp_path / 'depth.mkv', [1000, 1500])}")
    assert bright_side(frames[0]) == "up", "pixels lie where their depth lies"
    assert any("asks to be turned" in warning for warning in warnings) == (side != "up")


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "qtrle", "argb")]
)
def test_transparency_is_said(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    picture = np.dstack([grey(99), np.zeros((48, 64), np.uint8)])
    _, warnings = play(str(write(tmp_path / name, (codec, pixels, "", [(n / 10, picture) for n in range(3)]))))
    assert sum("transparency is left out" in warning for warning in warnings) == 1


def test_damage_in_the_middle_costs_its_frames_and_is_said_once_without_ffmpeg_s_own_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
    path = write(tmp_path / "f.mkv", ("mpeg4", "yuv420p", "", [(n / 20, np.roll(picture, n, 1)) for n in range(40)]))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 3000] = bytes(3000)
    path.write_bytes(data)
    camera = opening.camera(str(path))
    frames = list(camera)
    assert len(frames) < 40
    assert any("corrupt" in warning for warning in camera.warnings)
    assert capfd.readouterr().err == ""


def test_a_decoder_that_dies_takes_only_itself_down(tmp_path: Path) -> None:
    camera = opening.camera(str(film(tmp_path / "film.mkv", list(range(0, 250, 2)))))
    assert isinstance(camera, ChildCamera)
    camera.read(10)
    os.kill(camera._process.pid, signal.SIGSEGV)
    with pytest.raises(CameraError, match=r"film\.mkv: its reader ended with signal 11"):
        list(camera)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "film.mkv", [10])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CameraError, match=r"\[video\]"):
        opening.camera(str(path))


def test_a_camera_is_what_both_give() -> None:
    assert issubclass(player.VideoCamera, BaseCamera)
    assert av.logging.get_level() is None
