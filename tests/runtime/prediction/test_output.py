"""One file in, one file out; videos with boxes drawn; a folder that is watched; names and objects through the verb."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.runtime import predict as verb
from mutualformer.runtime import stream
from mutualformer.runtime.prediction import batch
from mutualformer.runtime.prediction.batch import Request, RequestError
from mutualformer.runtime.prediction.run import Summary
from tests.pictures import read_picture
from tests.runtime.prediction.conftest import write_pictures


def photograph(folder: Path, name: str = "photo.png") -> Path:
    """A red square on black, 64 × 96, with its depth beside: 1.5 m before 4 m."""
    image, depth = np.zeros((64, 96, 3), np.uint8), np.full((64, 96), 4000, np.uint16)
    image[16:48, 24:60], depth[16:48, 24:60] = (20, 20, 250), 1500
    cv2.imwrite(str(folder / "depth.png"), depth)
    cv2.imwrite(str(folder / name), image)
    return folder / name


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """See :func:`photograph`."""
    return photograph(tmp_path)


def predict(red: Path, *arguments: str | Path) -> int:
    """``mutualformer predict ARGUMENTS --model RED``."""
    return verb.main([*map(str, arguments), "--model", str(red)])


def one(red: Path, picture: Path, *arguments: str | Path) -> int:
    """The same for the pair."""
    return predict(red, picture, "--depth", picture.parent / "depth.png", *arguments)


@pytest.mark.parametrize(
    ("name", "channels", "arguments"),
    [
        ("cut.png", 4, []),
        ("cut.webp", 4, []),
        ("look.jpg", 3, []),
        ("cut.jpg", 3, ["--background", "white"]),
        ("mask.png", 1, ["--what", "mask"]),
    ],
)
def test_the_ending_says_what_is_made(red: Path, picture: Path, name: str, channels: int, arguments: list[str]) -> None:
    file = picture.parent / "to" / name
    assert one(red, picture, "-o", file, *arguments) == 0
    image = read_picture(file, cv2.IMREAD_UNCHANGED)
    assert image.shape[:2] == (64, 96)
    assert (image.shape[2] if image.ndim == 3 else 1) == channels
    assert [path.name for path in file.parent.iterdir()] == [name], "one file and nothing beside it"
    if channels == 4:
        assert image[32, 42, 3] == 255
        assert image[2, 2, 3] == 0
    if name == "cut.jpg":
        assert image[2, 2].min() > 250


def test_a_crop_and_a_json_file(red: Path, picture: Path) -> None:
    assert one(red, picture, "-o", picture.parent / "cut.png", "--crop") == 0
    assert read_picture(picture.parent / "cut.png", cv2.IMREAD_UNCHANGED).shape == (36, 40, 4)
    assert one(red, picture, "-o", picture.parent / "found.json") == 0
    found = json.loads((picture.parent / "found.json").read_text())
    assert found["nearest_object_m"] == pytest.approx(1.5)
    assert len(found["objects"]) == 1


def test_standard_input_and_output(
    red: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    class Pipe:
        buffer = io.BytesIO(picture.read_bytes())

    monkeypatch.setattr(sys, "stdin", Pipe)
    assert predict(red, "-", "-o", "-", "--what", "mask") == 0
    out = capfdbinary.readouterr().out
    assert out.startswith(b"\x89PNG"), "nothing but the picture"
    assert np.asarray(cv2.imdecode(np.frombuffer(out, np.uint8), cv2.IMREAD_UNCHANGED)).shape == (64, 96)


def test_the_options_of_an_address_are_no_wildcard(red: Path, tmp_path: Path) -> None:
    assert predict(red, "synthetic:1?seed=2", "--out", tmp_path / "out", "--what", "json") == 0
    assert list((tmp_path / "out").rglob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.png"], "-o FILE for one picture"),
        (["photo.png", "-o", "cut.doc"], "expected a name ending in"),
        (["photo.png", "-o", "cut.png", "--what", "mask,cutout"], "names 2 kinds"),
        (["photo.png", "-o", "cut.png", "--out", "d"], "one of the two"),
        (["*.png", "-o", "cut.png"], "takes one picture and there are"),
        (["nothing*.png", "--out", "d"], "matches no file"),
        (["photo.png", "--watch", "--out", "d"], "--watch takes one folder"),
        (["photo.png", "-o", "x.json", "--what", "mask"], "do not go together"),
        (["photo.png", "-o", "./photo.png"], "is SOURCE itself"),
        (["-", "-o", "cut.png"], "standard input is empty"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    red: Path,
    picture: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(picture.parent)
    (picture.parent / "other.png").write_bytes(picture.read_bytes())
    (picture.parent / "depth.png").unlink()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert predict(red, *arguments) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert message in said


def test_patterns_are_understood_where_the_shell_does_not(
    red: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "in", 3)
    monkeypatch.chdir(tmp_path)
    assert predict(red, "in/*.png", "--out", "out", "--what", "mask") == 0
    assert len(list((tmp_path / "out/mask").iterdir())) == 3


def film(path: Path, frames: int = 6) -> Path:
    """A square that moves, 64 × 96."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(frames):
        image = np.zeros((64, 96, 3), np.uint8)
        image[16:48, 10 + number : 40 + number] = (20, 20, 250)
        writer.write(image)
    writer.release()
    return path


def test_a_video_in_and_an_annotated_video_out(red: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    assert predict(red, film(tmp_path / "film.avi"), "-o", tmp_path / "out.mp4") == 0
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 6
    assert not list(tmp_path.glob(".*")), "no half-written file"


def test_the_sound_is_kept_where_it_fits(red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    av: Any = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = file.add_stream("aac", rate=48000, layout="mono")
        for _ in range(10):
            for packet in video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), "rgb24")):
                file.mux(packet)
        for number in range(46):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 48000, 1024 * number
            for packet in audio.encode(samples):
                file.mux(packet)
        for track in (video, audio):
            for packet in track.encode():
                file.mux(packet)
    assert predict(red, tmp_path / "film.mp4", "-o", tmp_path / "out.mp4") == 0
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert len(file.streams.audio) == 1
        seconds = file.streams.audio[0].duration * file.streams.audio[0].time_base
        assert 0.8 < float(seconds) < 1.1
    assert predict(red, tmp_path / "film.mp4", "-o", tmp_path / "out.webm") == 0
    assert "its sound (aac) does not fit into .webm, left out" in capsys.readouterr().err
    with av.open(str(tmp_path / "out.webm")) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_a_folder_that_is_watched(red: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rounds = write_pictures(tmp_path / "in", 2), []

    def report(summary: Summary) -> None:
        rounds.append((summary.computed, summary.kept))
        if len(rounds) == 2:
            raise KeyboardInterrupt
        (source / "new.png").write_bytes((source / "0.png").read_bytes())

    request = Request((str(source),), tmp_path / "out", models=(str(red),), what=("mask",))
    with pytest.raises(KeyboardInterrupt):
        batch.watch(request, report, pause_s=0.01)
    assert rounds == [(2, 0), (1, 2)], "what was done is not done again"


def names(out: Path) -> list[str]:
    """What the table calls the frames, each once."""
    with (out / "predictions.csv").open(newline="") as stream:
        return list(dict.fromkeys(row["name"] for row in csv.DictReader(stream)))


def test_equal_names_are_different_files(red: Path, tmp_path: Path) -> None:
    for folder, name in (("1", "a.png"), ("2", "a.png"), ("3", "a-2.png"), ("3", "shot:1.png"), ("3", "shot_1.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        photograph(tmp_path / folder, name)
    (tmp_path / "3/depth.png").unlink()
    files = sorted(str(path) for path in tmp_path.glob("*/[as]*.png"))
    assert predict(red, *files, "--out", tmp_path / "out", "--what", "mask,json") == 0
    for kind in ("mask", "json"):
        assert len(list((tmp_path / "out" / kind).iterdir())) == 5
    assert {f"{name}.png" for name in names(tmp_path / "out")} == {p.name for p in (tmp_path / "out/mask").iterdir()}


@pytest.mark.slow
def test_frames_of_two_films_of_one_name_are_different_files(red: Path, tmp_path: Path) -> None:
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        film(tmp_path / folder / "film.avi", 2)
    films = [tmp_path / folder / "film.avi" for folder in ("1", "2")]
    assert predict(red, *films, "--out", tmp_path / "out", "--what", "mask") == 0
    assert len(list((tmp_path / "out/mask").iterdir())) == len(names(tmp_path / "out")) == 4


def test_a_name_that_no_disk_takes_is_one_broken_picture(
    red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_pictures(tmp_path / "in", 3)
    for length in (240, 251):  # as a mask 240 + 4 bytes fit, and as JSON 251 + 5 do not
        (source / ("x" * length + ".png")).write_bytes((source / "0.png").read_bytes())
    assert predict(red, source, "--out", tmp_path / "out", "--what", "mask,json") == 1
    assert "refuses this name" in capsys.readouterr().err
    assert len(list((tmp_path / "out/json").iterdir())) == 4
    assert len(names(tmp_path / "out")) == 5


def test_resuming_looks_at_the_files_and_one_picture_more_is_one_picture(
    red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_pictures(tmp_path / "in", 70), tmp_path / "out"
    arguments: list[str | Path] = [source, "--out", out, "--what", "mask,json", "--resume"]
    assert predict(red, *arguments) == 0
    whole = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file() and ".predict" not in path.parts}

    def again() -> str:
        capsys.readouterr()
        assert predict(red, *arguments) == 0
        return capsys.readouterr().out

    assert "predicted 0 pictures" in again()
    (out / "mask/3.png").unlink()
    (out / "json/66.json").write_bytes(b"")
    for cut in ("mask/7.png", "json/8.json"):
        (out / cut).write_bytes(whole[out / cut][:-9])
    assert "predicted 4 pictures" in again()
    assert {path: path.read_bytes() for path in whole} == whole
    (source / "2b.png").write_bytes((source / "2.png").read_bytes())
    # The added one, and what the contact sheet now shows for the first time.
    told = again()
    assert "were done before" in told
    assert names(out)[:5] == ["0", "1", "2", "2b", "3"]
    (source / "2b.png").unlink()
    again()
    assert {path: path.read_bytes() for path in whole} == whole


def test_three_objects_at_known_distances_through_predict_and_stream(
    red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, depth = np.zeros((120, 160, 3), np.uint8), np.full((120, 160), 4000, np.uint16)
    true = {(20, 20): 1330, (60, 70): 1360, (30, 120): 2810}
    for (top, left), millimetres in true.items():
        image[top : top + 30, left : left + 30], depth[top : top + 30, left : left + 30] = (9, 9, 250), millimetres
    for folder in ("rgb", "depth"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"rgb/{number}.png"), image)
        cv2.imwrite(str(tmp_path / f"depth/{number}.png"), depth)
    expected = [pytest.approx(value / 1000, rel=0.02) for value in sorted(true.values())]
    arguments: list[str | Path] = [
        tmp_path / "rgb",
        "--depth",
        tmp_path / "depth",
        "--out",
        tmp_path / "out",
        "--what",
        "json",
    ]
    assert predict(red, *arguments) == 0
    found = json.loads((tmp_path / "out/json/0.json").read_text())
    assert [one["distance_m"] for one in found["objects"]] == expected
    assert found["nearest_object_m"] == expected[0]
    with (tmp_path / "out/predictions.csv").open(newline="") as lines:
        assert [float(row["distance_m"]) for row in csv.DictReader(lines) if row["name"] == "1"] == expected
    capsys.readouterr()
    pairs = f"pairs:{tmp_path / 'rgb'},{tmp_path / 'depth'}"
    for more, identities in ([], [0, 1, 2]), (["--no-track"], [None] * 3):
        assert stream.main([pairs, "--model", str(red), "--json", *more]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        frames = [line for line in told if line["type"] == "frame"]
        assert len(frames) == 3
        for frame in frames:
            assert [one["distance_m"] for one in frame["objects"]] == expected
            assert [one.get("id") for one in frame["objects"]] == identities
            assert frame["nearest_object_m"] == expected[0]


def test_a_profile_stays_in_the_cut_out(red: Path, tmp_path: Path) -> None:
    image: Any = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    from PIL import ImageCms

    from mutualformer.runtime.images.rendering import encoded

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgba = np.full((8, 9, 4), 200, np.uint8)
    for suffix, mode in ((".png", "RGBA"), (".jpg", "RGB")):
        with image.open(io.BytesIO(encoded(rgba, suffix, profile))) as opened:
            assert opened.info["icc_profile"] == profile
            assert opened.convert(mode).size == (9, 8)


def test_the_request_says_where_to() -> None:
    with pytest.raises(RequestError, match="say where to"):
        Request(("x",))
