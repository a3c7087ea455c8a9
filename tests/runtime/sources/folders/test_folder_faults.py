"""Folders as people have them: units, times, names, EXIF, corrupt files. Right values, a warning or a refusal."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.folders.tum_lists import associate, time_unit
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.pipeline import Pipeline

COUNT = 5


def metres(index: int) -> np.ndarray:
    """A room: a box at 1.5 m before a floor that runs from 2 to 4 m; holes in the first rows."""
    depth = np.repeat(np.linspace(4.0, 2.0, 24, dtype=np.float32)[:, None], 32, axis=1)
    depth[8:16, 10:20] = 1.5 + 0.01 * index
    depth[:2] = 0
    return depth


def colour(index: int) -> np.ndarray:
    return np.full((24, 32, 3), (20, 100, 10 * index), np.uint8)


def as_units(scale: float) -> Callable[[int], np.ndarray]:
    return lambda index: np.rint(metres(index) * scale).astype(np.uint16)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


in_tum_units, in_millimetres = as_units(5000), as_units(1000)


def tum(
    folder: Path,
    depth: Callable[[int], np.ndarray] = in_tum_units,
    ending: str = ".png",
    stamp: Callable[[int], str] = lambda index: f"{1305031102 + index / 30:.6f}",
    line: str = "{stamp} {path}\n",
) -> Path:
    lists = {"rgb": "# colour\n", "depth": "# depth\n"}
    for index in range(COUNT):
        for kind, pixels, suffix in (("rgb", colour(index)[..., ::-1], ".png"), ("depth", depth(index), ending)):
            write(folder / kind / f"{index}{suffix}", pixels)
            lists[kind] += line.format(stamp=stamp(index), path=f"{kind}/{index}{suffix}")
    for kind, text in lists.items():
        (folder / f"{kind}.txt").write_text(text)
    return folder


def pairs(folder: Path, depth: Callable[[int], np.ndarray] = in_millimetres, names: str = "{:02d}.png") -> str:
    for index in range(COUNT):
        write(folder / "rgb" / names.format(index), colour(index)[..., ::-1])
        write(folder / "depth" / names.format(index), depth(index))
    return f"pairs:{folder}/rgb,{folder}/depth"


def play(uri: object) -> tuple[list[Frame], list[str]]:
    pipeline = Pipeline(lambda: opening.camera(str(uri)))
    frames = [result.frame for result in pipeline.results()]
    assert pipeline.capture.camera is not None
    return frames, list(pipeline.capture.camera.warnings)


def assert_right(frames: list[Frame], scale: float = 5000) -> None:
    assert len(frames) == COUNT
    for index, frame in enumerate(frames):
        assert np.abs(frame.depth - metres(index)).max() <= 1 / scale
        assert (frame.depth[:2] == 0).all()


# What depth means


@pytest.mark.parametrize("units", [1000, 256, 100, 10000])
def test_units_that_are_not_tum_s_are_said_and_read_when_told(tmp_path: Path, units: int) -> None:
    folder = tum(tmp_path, as_units(units))
    frames, warnings = play(folder)
    if units != 10000:  # twice as far is a room too
        assert any("depth_scale=" in warning and f"{1 / units:g}" in warning for warning in warnings)
    frames, warnings = play(f"{folder}?depth_scale={1 / units}")
    assert_right(frames, units)
    assert warnings == []


@pytest.mark.parametrize("units", [5000, 10000, 100, 256])
def test_units_that_are_not_millimetres_are_said(tmp_path: Path, units: int) -> None:
    _, warnings = play(pairs(tmp_path, as_units(units)))
    assert any("depth_scale=" in warning for warning in warnings)


def close_up(scale: float) -> Callable[[int], np.ndarray]:
    """Half as far as the room, as whole millimetres: twice as far it is a room too."""
    slope = np.linspace(0, 0.5, 24 * 32, dtype=np.float32).reshape(24, 32)

    def stored(index: int) -> np.ndarray:
        room = metres(index)
        return (np.rint(np.where(room > 0, room / 2 + slope, 0) * 1000) * scale / 1000).astype(np.uint16)

    return stored


def test_a_unit_that_makes_a_plausible_room_is_told_by_its_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "mutualformer"):
        _, warnings = play(tum(tmp_path / "tenths", close_up(10000)))
    assert any("multiples of 10" in warning and "depth_scale=0.0001" in warning for warning in warnings)
    assert "depth_scale=0.0002" in caplog.text
    _, warnings = play(tum(tmp_path / "tum", close_up(5000)))
    assert warnings == []
    _, warnings = play(pairs(tmp_path / "mm", close_up(1000)))
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("camera.json", '{"fx": 500, "depth_scale_m": 0.0001}'),
        ("orb.yaml", "%YAML:1.0\nCamera.fps: 30.0\nDepthMapFactor: 10000.0\n"),
        ("README.md", "The depth scale is 10000 (units per metre)."),
    ],
)
def test_a_unit_that_the_folder_declares_is_used_and_said(
    tmp_path: Path, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tum(tmp_path / "tum", as_units(10000))
    (folder / name).write_text(text)
    with caplog.at_level("INFO", "mutualformer"):
        frames, warnings = play(folder)
    assert_right(frames, 10000)
    assert warnings == []
    assert f"depth_scale=0.0001, as {name} says" in caplog.text
    side_by_side = pairs(tmp_path / "pairs", as_units(10000))
    (tmp_path / "pairs" / name).write_text(text)
    assert_right(play(side_by_side)[0], 10000)
    with_scale, _ = play(f"{folder}?depth_scale=0.0002")
    assert np.abs(with_scale[0].depth - 2 * metres(0)).max() < 1e-3  # the address goes before


def test_declarations_that_contradict_one_another_are_none(tmp_path: Path) -> None:
    folder = tum(tmp_path, in_tum_units)
    (folder / "a.yaml").write_text("DepthMapFactor: 5000\n")
    (folder / "b.yaml").write_text("DepthMapFactor: 1000\n")
    assert_right(play(folder)[0])


@pytest.mark.parametrize("ending", [".tiff", ".npy"])
def test_float_depth_is_metres_and_anything_else_is_said(tmp_path: Path, ending: str) -> None:
    frames, warnings = play(tum(tmp_path / "m", metres, ending))
    assert_right(frames)
    assert warnings == []
    folder = tum(tmp_path / "mm", lambda index: metres(index) * 1000, ending)
    _, warnings = play(folder)
    assert any("depth_scale=0.001 meant?" in w for w in warnings)
    far = tum(tmp_path / "far", lambda index: np.where(metres(index) > 0, metres(index), np.float32(65.535)), ending)
    assert any("holes=65.535 meant?" in warning for warning in play(far)[1])
    assert_right(play(f"{far}?holes=65.535")[0])
    assert_right(play(f"{folder}?depth_scale=0.001")[0])


def test_a_scene_nearer_than_the_model_knows_is_said(tmp_path: Path) -> None:
    _, warnings = play(pairs(tmp_path, lambda index: np.rint(metres(index) * 1000 / 20).astype(np.uint16)))
    assert any("depth read as millimetres is" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("code", "option"), [(65535, ""), (32767, ""), (65534, "?holes=65534"), (60000, "?holes=60000")]
)
def test_a_code_for_no_measurement_is_a_hole(tmp_path: Path, code: int, option: str) -> None:
    def coded(index: int) -> np.ndarray:
        units = as_units(1000)(index)
        units[units == 0] = code
        return units

    frames, _ = play(pairs(tmp_path, coded) + option)
    assert_right(frames, 1000)


def test_eight_bits_have_no_unit_and_say_so(tmp_path: Path) -> None:
    frames, warnings = play(pairs(tmp_path, lambda index: np.full((24, 32), 90, np.uint8)))
    assert len(frames) == COUNT
    assert sum("has no unit" in warning for warning in warnings) == 1


# Times


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "ms"), (1e6, "us"), (1e9, "ns")], ids=["milli", "micro", "nano"])
@pytest.mark.parametrize("offset", [0, 6])
def test_times_that_are_no_seconds_are_read_in_their_unit_and_said(
    tmp_path: Path, factor: float, unit: str, offset: int
) -> None:
    folder = tum(tmp_path, stamp=lambda index: str(round((1305031102 + index / 30) * factor)))
    shifted = [
        " ".join([str(int(words[0]) + round(offset * factor / 1e3)), words[1]]) if words[0] != "#" else ""
        for words in map(str.split, (folder / "depth.txt").read_text().splitlines())
    ]
    (folder / "depth.txt").write_text("\n".join(shifted))
    frames, warnings = play(folder)
    assert_right(frames)
    assert frames[3].timestamp - frames[0].timestamp == pytest.approx(0.1, abs=0.002)
    assert frames[0].skew == pytest.approx(-offset / 1e3, abs=1e-6)
    assert any(f"read as {unit}" in warning for warning in warnings)
    assert play(f"{folder}?time={unit}")[1] == []


def test_the_unit_of_times() -> None:
    assert time_unit([0, 1, 2, 3]) == "s", "numbers of frames"
    assert time_unit([1.3e9 + k / 30 for k in range(9)]) == "s"
    assert time_unit([4102444800 + k / 30 for k in range(9)]) == "s", "the year 2100"
    assert time_unit([]) == "s"


def test_times_of_the_year_2100_are_recorded_exactly(tmp_path: Path) -> None:
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import SinkRunner

    folder = tum(tmp_path / "t", stamp=lambda index: f"{4102444800 + index / 30:.6f}")
    recorder = Recorder(tmp_path / "r", keep_free=0)
    live = [r.frame for r in Pipeline(lambda: opening.camera(str(folder)), None, [SinkRunner(recorder)]).results()]
    assert recorder.problem == ""
    again, _ = play(recorder.path)
    assert [f.timestamp for f in again] == [f.timestamp for f in live]
    assert_right(again)


@pytest.mark.parametrize("count", [2000, 20000])
def test_equal_times_pair_in_order_in_little_time(count: int) -> None:
    began = time.monotonic()
    entries = [(0.0, f"{index:06d}") for index in range(count)]
    assert associate(entries, entries, 0.02) == [(entry, entry) for entry in entries]
    assert time.monotonic() - began < 10


# Lists


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("rgb/", "rgb\\").encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace(".png\n", ".png 1\n").encode(),
        lambda text: "\n".join(reversed(text.splitlines())).encode(),
    ],
    ids=["backslashes", "BOM and CRLF", "UTF-16", "third column", "reversed"],
)
def test_lists_as_other_systems_write_them(tmp_path: Path, change: Callable[[str], bytes]) -> None:
    folder = tum(tmp_path)
    (folder / "rgb.txt").write_bytes(change((folder / "rgb.txt").read_text()))
    assert_right(play(folder)[0])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_list_of_associations_does_for_both_lists(tmp_path: Path, swapped: bool) -> None:
    folder = tum(tmp_path)
    stamp = 1305031102
    halves = [
        [f"{stamp + n / 30:.6f} rgb/{n}.png", f"{stamp + n / 30 + 0.004:.6f} depth/{n}.png"] for n in range(COUNT)
    ]
    lines = [" ".join(reversed(half) if swapped else half) for half in halves]
    (folder / "associations.txt").write_text("# pairs\n" + "\n".join(reversed(lines)))
    for name in ("rgb.txt", "depth.txt"):
        (folder / name).unlink()
    frames, warnings = play(folder)
    assert_right(frames)
    assert frames[0].skew == pytest.approx(-0.004, abs=1e-5)
    assert warnings == []
    (folder / "associations.txt").write_text("1.0 rgb/0.png 1.0\n")
    with pytest.raises(CameraError, match="line 1: expected 'timestamp colour timestamp depth'"):
        play(folder)


def test_a_hash_inside_a_name_is_no_comment(tmp_path: Path) -> None:
    folder = tum(tmp_path)
    (folder / "rgb" / "0.png").rename(folder / "rgb" / "a#0.png")
    text = (folder / "rgb.txt").read_text().replace("rgb/0.png", "rgb/a#0.png  # the first")
    (folder / "rgb.txt").write_text(text)
    assert_right(play(folder)[0])


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.png", "rgb/../../x.png", "..\\x.png"])
def test_lists_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tum(tmp_path)
    (folder / "rgb.txt").write_text(f"1.0 {name}\n")
    with pytest.raises(CameraError, match=r"rgb\.txt, line 1: .* lies outside the folder"):
        opening.camera(str(folder))


def test_many_frames_left_out_are_named_a_few_times_and_counted(tmp_path: Path) -> None:
    folder = tum(tmp_path)
    for index in range(1, COUNT):
        (folder / "depth" / f"{index}.png").unlink()
    frames, warnings = play(folder)
    assert len(frames) == 1
    assert sum("frame left out" in warning for warning in warnings) == 3
    assert any("4 frames left out in all" in warning for warning in warnings)
    (folder / "depth" / "0.png").unlink()
    with pytest.raises(CameraError, match=r"no frame could be used: .*0\.png: cannot be read"):
        play(folder)


# Names


@pytest.mark.parametrize("names", ["{}.png", "frame{}.png", "{}_x.png"])
def test_numbers_without_zeros_play_in_the_order_people_count(tmp_path: Path, names: str) -> None:
    for index in range(1, 13):
        write(tmp_path / "rgb" / names.format(index), colour(index)[..., ::-1])
        write(tmp_path / "depth" / names.format(index), as_units(1000)(index))
    frames, _ = play(f"pairs:{tmp_path}/rgb,{tmp_path}/depth")
    assert [int(frame.rgb[0, 0, 2]) // 10 for frame in frames] == list(range(1, 13))


def test_two_endings_of_one_name_are_said(tmp_path: Path) -> None:
    uri = pairs(tmp_path)
    write(tmp_path / "rgb" / "00.bmp", colour(7))
    (tmp_path / "rgb" / "notes.pdf").write_text("x")
    (tmp_path / "rgb" / "._01.png").write_bytes(b"\0\5\x16\7")
    _, warnings = play(uri)
    assert any("1 names are there twice; 00.png is left out and 00.bmp taken" in w for w in warnings)
    assert any("1 .pdf files are left out" in w for w in warnings)
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "name", ["with, comma", "what?", "a+b", "a&b=c", "50%", "größe", os.fsdecode(b"\xca\xfd\xbe\xdd")]
)
def test_any_name_of_a_folder_works(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    assert_right(play(pairs(folder))[0], 1000)
    assert_right(play(pairs(folder) + "?fps=10")[0], 1000)
    assert_right(play(tum(folder / "t"))[0])
    assert_right(play(f"{folder / 't'}?max_skew=0.1")[0])
    assert_right(play(f"tum:{folder / 't'}?max_skew=0.1")[0])


def test_names_that_are_not_utf_8_are_recorded_and_replayed(tmp_path: Path) -> None:
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import SinkRunner

    folder = tmp_path / os.fsdecode(b"\xca\xfd\xbe\xdd")
    uri = pairs(folder)
    recorder = Recorder(folder / "out", keep_free=0)
    Pipeline(lambda: opening.camera(uri), None, [SinkRunner(recorder)]).run()
    assert recorder.problem == ""
    assert_right(play(recorder.path)[0], 1000)


# Pictures


def jpeg_with_orientation(pixels: np.ndarray, tag: int) -> bytes:
    """A JPEG whose EXIF says that it is to be turned."""
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + tag.to_bytes(4, "little") + bytes(4)
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


@pytest.mark.parametrize("tag", range(2, 9))
def test_a_turn_in_exif_is_not_made_and_said_once(tmp_path: Path, tag: int) -> None:
    uri = pairs(tmp_path, names="{:02d}.png")
    half = colour(3)
    half[:, :16] = 255
    for index in range(COUNT):
        (tmp_path / "rgb" / f"{index:02d}.png").unlink()
        (tmp_path / "rgb" / f"{index:02d}.jpg").write_bytes(jpeg_with_orientation(half, tag))
    frames, warnings = play(uri)
    assert_right(frames, 1000)
    assert frames[0].rgb[:, :14].mean() > 240
    assert frames[0].rgb[:, 18:].mean() < 100
    assert sum("the EXIF orientation is not applied" in warning for warning in warnings) == 1


def test_a_picture_that_declares_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    uri = pairs(tmp_path)

    def chunk(tag: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + tag + data + zlib.crc32(tag + data).to_bytes(4, "big")

    size = (100_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + b"\x08\0\0\0\0") + chunk(b"IDAT", zlib.compress(b""))
    (tmp_path / "rgb" / "01.png").write_bytes(bomb + chunk(b"IEND", b""))
    frames, warnings = play(uri)
    assert len(frames) == COUNT - 1
    assert any("declares 100000×100000 pixels" in warning for warning in warnings)
