"""The verb as a whole: many pictures, several models, broken ones, resuming, bounded memory."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime import predict as verb
from mutualformer.runtime.prediction import batch, journal, run, sheet, work
from mutualformer.runtime.prediction.batch import Request, RequestError
from mutualformer.runtime.prediction.run import in_order
from mutualformer.runtime.session import ModelOutputError
from mutualformer.runtime.session.base import Arrays
from mutualformer.runtime.sources import inputs
from tests.pictures import read_picture
from tests.runtime.fakes import FakeSession, write_model
from tests.runtime.prediction.conftest import write_pictures


def predict(out: Path, red: Path, *arguments: str | Path) -> int:
    """``mutualformer predict ARGUMENTS --model RED --out OUT``."""
    return verb.main([*map(str, arguments), "--model", str(red), "--out", str(out)])


def rows(out: Path) -> list[dict[str, str]]:
    """predictions.csv."""
    with (out / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes; the journal's records without the run that wrote them."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: re.sub(rb'"run": "\w+", ', b"", data) for name, data in files.items()}


def test_one_photograph(red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 1)
    assert predict(tmp_path / "out", red, tmp_path / "0.png") == 0
    said = capsys.readouterr()
    assert "predicted 1 picture in" in said.out
    assert "No depth" in said.err
    for path in ("mask/0.png", "binary/0.png", "cutout/0.png", "overlay/0.jpg", "sheet.jpg"):
        assert (tmp_path / "out" / path).is_file(), path
    assert read_picture(tmp_path / "out/mask/0.png", cv2.IMREAD_UNCHANGED).shape == (40, 60)


def test_the_real_pair(red: Path, samples: Path, tmp_path: Path) -> None:
    assert predict(tmp_path, red, "sample:motorcycle", "--what", "mask,json") == 0
    line = json.loads((tmp_path / "json/motorcycle.json").read_text())
    picture = read_picture(samples / "motorcycle/rgb.png")
    assert line["size"] == list(picture.shape[:2])
    assert 1.0 < line["nearest_object_m"] < 5.0


def test_the_sample_without_its_folder_is_one_clear_sentence(
    red: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUTUALFORMER_SAMPLES", str(tmp_path / "nowhere"))
    assert predict(tmp_path / "out", red, "sample:motorcycle") == 1
    said = capsys.readouterr().err
    assert "MUTUALFORMER_SAMPLES" in said
    assert len(said.strip().splitlines()) == 1


def test_a_data_set_folder_with_broken_pictures(red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 9, depth=True)
    (tmp_path / "in/RGB/3.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "in/depth/5.png"), np.full((7, 7), 900, np.uint16))
    assert predict(tmp_path / "out", red, tmp_path / "in") == 1
    said = capsys.readouterr()
    assert "2 skipped, the first:" in said.out
    assert "3.png" in said.err
    assert "depth/5.png" in said.err
    assert sorted(path.stem for path in (tmp_path / "out/mask").iterdir()) == ["0", "1", "2", "4", "6", "7", "8"]
    table = rows(tmp_path / "out")
    assert list(dict.fromkeys(row["name"] for row in table)) == [str(number) for number in range(9)]
    assert [row["name"] for row in table if row["error"]] == ["3", "5"]
    assert any(row["distance_m"] for row in table)
    assert all(float(row["distance_m"]) > 0 for row in table if row["distance_m"])


def test_an_answer_that_is_no_number_is_that_picture_s_fault(tmp_path: Path) -> None:
    class Overflowing(FakeSession):
        """Overflows on bright pictures, as a half-precision model may."""

        def _run(self, inputs: Arrays) -> Arrays:
            if (inputs["rgb"] == 255).all(axis=(1, 2, 3)).any():
                raise ModelOutputError("fake (fp16) answered with NaN")
            return super()._run(inputs)

    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 255 if number == 2 else 90, np.uint8))
    pictures = inputs.album([str(tmp_path)])
    group = [work.Task(index, str(index), partial(pictures.__getitem__, index)) for index in range(4)]
    model = work.Model("fake", Overflowing())
    outcomes = work.process(group, [model], work.Plan(tmp_path / "out", ("mask",)))
    assert [bool(outcome.error) for outcome in outcomes] == [False, False, True, False]
    assert "answered with NaN" in outcomes[2].error
    assert len(list((tmp_path / "out/mask").iterdir())) == 3


def test_every_picture_broken_is_no_answer_and_no_sheet(red: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert predict(tmp_path / "out", red, tmp_path / "a.png") == 1
    assert not (tmp_path / "out/sheet.jpg").exists()


def test_several_models_side_by_side(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 3)
    other = write_model(tmp_path / "other.onnx", (64, 64))
    assert predict(tmp_path / "out", red, tmp_path / "in", "--model", other, "--what", "mask") == 0
    assert {path.parent.parent.name for path in (tmp_path / "out").rglob("mask/*.png")} == {"red", "other"}
    assert {(row["name"], row["model"]) for row in rows(tmp_path / "out")} == {
        (name, model) for name in "012" for model in ("other", "red")
    }


def test_models_of_one_name_get_folders_of_their_own() -> None:
    assert batch.labels(["a/x.onnx", "b/x.onnx", "sod-lite", "y.engine"]) == ["x-1", "x-2", "sod-lite", "y"]


@pytest.mark.parametrize("arguments", [["--workers", "1"], ["--workers", "4"], ["--batch", "5", "--workers", "3"]])
def test_workers_and_batches_change_nothing(red: Path, tmp_path: Path, arguments: Sequence[str]) -> None:
    write_pictures(tmp_path / "in", 17, depth=True)
    assert predict(tmp_path / "one", red, tmp_path / "in", "--what", "all", "--workers", "2") == 0
    assert predict(tmp_path / "two", red, tmp_path / "in", "--what", "all", *arguments) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_run_cut_short_goes_on_and_computes_nothing_twice(
    red: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in", 20)
    assert predict(tmp_path / "whole", red, tmp_path / "in") == 0
    computed: list[int] = []
    full = True

    def counted(group: Sequence[work.Task], models: Sequence[work.Model], plan: work.Plan) -> list[work.FrameOutcome]:
        computed.extend(task.index for task in group)
        if full and len(computed) == 8:
            raise OSError(28, "No space left on device")
        return work.process(group, models, plan)

    monkeypatch.setattr(run, "process", counted)
    assert predict(tmp_path / "out", red, tmp_path / "in", "--workers", "1") == 1
    first = set(computed[:-1])
    written = {int(path.stem) for path in (tmp_path / "out/mask").iterdir()}
    assert not (tmp_path / "out/predictions.csv").exists()
    computed.clear()
    full = False
    capsys.readouterr()
    assert predict(tmp_path / "out", red, tmp_path / "in", "--resume") == 0
    known = set(range(20)) - set(computed)
    assert known <= first & written
    assert len(known) >= 5, "what was finished is not done again"
    assert "were done before" in capsys.readouterr().out
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_resuming_does_changed_pictures_again_and_nothing_else(
    red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in", 5)
    assert predict(tmp_path / "out", red, tmp_path / "in") == 0
    cv2.imwrite(str(tmp_path / "in/2.png"), np.zeros((40, 61, 3), np.uint8))
    capsys.readouterr()
    assert predict(tmp_path / "out", red, tmp_path / "in", "--resume") == 0
    assert "predicted 1 picture" in capsys.readouterr().out
    assert read_picture(tmp_path / "out/mask/2.png", cv2.IMREAD_UNCHANGED).shape == (40, 61)
    assert predict(tmp_path / "out", red, tmp_path / "in", "--resume", "--threshold", "0.7") == 0
    assert "predicted 5 pictures" in capsys.readouterr().out, "another threshold is another run"


def test_an_output_folder_among_the_pictures_is_not_read_again(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    for _ in range(2):
        assert predict(tmp_path / "out", red, tmp_path) == 0
        assert {row["name"] for row in rows(tmp_path / "out")} == {"0", "1", "2"}


def test_the_source_itself_is_no_output_folder(red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 2, depth=True)
    assert predict(tmp_path, red, tmp_path) == 1
    assert "is SOURCE itself" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RGB", "depth"]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (20, 9000), (333, 251)])
def test_pictures_of_any_shape(red: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    cv2.imwrite(str(tmp_path / "odd.png"), np.full((*size, 3), 200, np.uint8))
    assert predict(tmp_path / "out", red, tmp_path / "odd.png", "--what", "all") == 0
    assert read_picture(tmp_path / "out/mask/odd.png", cv2.IMREAD_UNCHANGED).shape == size


def test_names_that_are_not_utf_8_or_hold_escapes(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 1)
    data = (tmp_path / "in/0.png").read_bytes()
    for name in (b"\xca\xfd.png", "grün ü.png".encode(), b"a\x1b[2J.png", b"sp ace,comma.png"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(data)
    assert predict(tmp_path / "out", red, tmp_path / "in", "--what", "mask,json") == 0
    written = {os.fsencode(path.name) for path in (tmp_path / "out/mask").iterdir()}
    assert written == {b"0.png", b"\xca\xfd.png", "grün ü.png".encode(), b"a_[2J.png", b"sp ace,comma.png"}
    assert (tmp_path / "out/predictions.csv").read_bytes().count(b"\n") == 6


def test_a_record_cut_short_in_the_journal_is_done_again(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 4)
    assert predict(tmp_path / "out", red, tmp_path / "in") == 0
    whole = tree(tmp_path / "out")
    (record,) = (tmp_path / "out" / journal.FOLDER).glob(f"{journal.digest('2')}.json")
    record.write_bytes(record.read_bytes()[:-20])
    assert predict(tmp_path / "out", red, tmp_path / "in", "--resume") == 0
    assert tree(tmp_path / "out") == whole


def test_a_video_from_its_first_to_its_last_frame(red: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in range(7):
        writer.write(np.full((48, 64, 3), 30 * level, np.uint8))
    writer.release()
    assert predict(tmp_path / "out", red, tmp_path / "film.avi") == 0
    assert [row["name"] for row in rows(tmp_path / "out")] == [f"film-{number:06d}" for number in range(7)]


def test_a_source_without_frames_is_exit_1(red: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.avi").write_bytes(b"RIFF")
    assert predict(tmp_path / "out", red, tmp_path / "film.avi") == 1
    assert "cannot be opened as a video" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "out", red, tmp_path / "empty") == 1
    assert "nor any picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "hologram"], "'hologram'"),
        (["--threshold", "1.5"], "--threshold is 1.5"),
        (["--frames", "0"], "--frames is 0"),
        (["--gallery", "x"], "--gallery needs a ReID model"),
        (["--depth-scale", "-1"], "depth"),
        (["0", "--resume"], "cannot be mixed|cannot be resumed"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(
    red: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path, 1)
    assert predict(tmp_path / "out", red, tmp_path / "0.png", *arguments) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert any(part in said for part in message.split("|")), said


def test_a_model_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 1)
    assert predict(tmp_path / "out", tmp_path / "nosuch.onnx", tmp_path / "0.png") == 1
    assert "nosuch.onnx: no such model file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tasks_are_not_mixed(red: Path) -> None:
    with pytest.raises(RequestError, match="--workers is -1"):
        Request(("x",), Path("out"), workers=-1)


def test_in_order_never_runs_far_ahead() -> None:
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        return task

    for done, result in enumerate(in_order(range(100), work, 3)):
        assert result == done
        assert len(begun) <= done + 2 * 3 + 1
    assert sorted(begun) == list(range(100))


@pytest.mark.slow
def test_memory_stays_flat_over_thousands_of_pictures(red: Path, tmp_path: Path) -> None:
    """Peak memory of Python's own allocations for 384 pictures is that for 48, give or take a megabyte."""
    import tracemalloc

    write_pictures(tmp_path / "in", 60)
    for number in range(60, 384):
        (tmp_path / f"in/{number}.png").hardlink_to(tmp_path / f"in/{number % 60}.png")
    peaks = []
    for frames in (48, 384):  # both fill a sheet of 48
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        tracemalloc.start()
        assert predict(tmp_path / "out", red, tmp_path / "in", "--frames", str(frames), "--what", "mask") == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2_000_000, peaks


def test_the_sheet_is_a_bounded_even_choice_that_a_stream_can_make() -> None:
    for count in (1, 48, 49, 1000, 12345):
        picks = [index for index in range(count) if index % sheet.every(count) == 0]
        assert min(count, sheet.MOST // 2) <= len(picks) <= sheet.MOST
        assert all(work.Plan(Path()).on_sheet(index) for index in picks), "kept while nobody knew the length"


def test_the_sheet_shows_picture_overlay_and_cutout(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 5)
    assert predict(tmp_path / "out", red, tmp_path / "in") == 0
    image = read_picture(tmp_path / "out/sheet.jpg")
    strip = 3 * sheet.CELL[1]
    assert image.shape[1] == strip * (sheet.WIDEST // strip)
    assert image.shape[0] == sheet.CAPTION + 2 * (sheet.CELL[0] + sheet.CAPTION)
