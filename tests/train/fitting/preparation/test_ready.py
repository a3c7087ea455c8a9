"""Before the first step: masks are checked, a part is held out, nobody trains on it; what is wrong is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders.rgbd import rgbd_folder
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train import checkpoint, fit
from mutualformer.train.fitting.batches.sod_batches import first_readable
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.kinds import KINDS
from mutualformer.train.fitting.preparation.ready import check_masks, file_list, split_off, validation_of
from mutualformer.train.fitting.recipes import Recipe
from tests.pictures import Change, rewrite_picture
from tests.train.support.runs import tiny
from tests.train.support.scenes import write_rgbd


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rgbd(tmp_path_factory.mktemp("ready") / "set", count=20)


def command(folder: Path, out: Path, *more: str) -> list[str]:
    words = ["sod-nano", "--data", str(folder), "--out", str(out), "--steps", "1", "--batch", "2", "--minutes", "0"]
    return [*words, "--set", "input_size=[32,32]", "--workers", "0", *more]


def test_a_tenth_is_held_out_and_never_trained_on(folder: Path) -> None:
    frames = rgbd_folder(folder)
    rest, held = split_off(frames)
    assert (len(rest), len(held)) == (18, 2)
    assert not set(rest.indices) & set(held.indices)
    assert split_off(rgbd_folder(folder))[1].indices == held.indices  # the same in every run
    assert rest[0].name != held[0].name
    with pytest.raises(IndexError):
        held[2]
    with pytest.raises(DataError, match="too few to hold some out; give --validate DATA"):
        split_off(opening.frames("synthetic:9", size=(32, 32)))
    assert file_list(rest) != file_list(held) != file_list(frames)
    assert file_list(opening.frames("synthetic:2", size=(32, 32))) == ""


def test_what_a_run_is_scored_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "photo", lambda config, facts: pytest.fail("opened"))
    assert validation_of("synthetic:50?seed=3", "sod") == ("synthetic:60?seed=900003", False)
    assert validation_of(str(folder), "sod") == (None, True)
    assert validation_of(f"{folder}+synthetic:5", "sod") == (None, True)
    assert validation_of("photo:/data", "sod") == (None, False)
    both = shutil.copytree(folder, tmp_path / "both")
    (both / "train.txt").write_text("0000\n0001\n")
    (both / "test.txt").write_text("0002\n")
    assert validation_of(str(both), "sod") == (str(both), False)
    assert validation_of(str(tmp_path), "reid") == (None, False)


def test_the_card_says_what_was_held_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit.main(command(folder, tmp_path)) == 0
    printed = capsys.readouterr()
    card = checkpoint.read_card(tmp_path / "model.safetensors")
    assert card["data"]["held_out"] == 2
    assert card["data"]["samples"] == 18
    assert len(card["data"]["files_sha256"]) == 64
    assert card["metrics"]["images"] == 2
    assert json.loads(printed.out)["metrics"]["data"].startswith("2 frames held out of")  # and nothing else there
    assert "💡" not in printed.err
    assert "Tip" not in printed.err


def test_fine_tuning_starts_from_another_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert fit.main(command(folder, tmp_path / "first", "--validate", "none")) == 0
    start = tmp_path / "first" / "model.safetensors"
    more = ("--validate", "none", "--init", str(start), "--set", "fusion=concat")
    assert fit.main(command(folder, tmp_path / "second", *more)) == 0
    assert f"tensors from {start}" in caplog.text
    card = checkpoint.read_card(tmp_path / "second" / "model.safetensors")
    assert card["recipe"]["init"] == str(start)
    first, second = (checkpoint.load(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    name = "rgb_backbone.conv_stem.weight"
    difference = (first.state_dict()[name] - second.state_dict()[name]).abs().max()
    assert difference < 0.02  # one small step from it, where another start would be far away
    capsys.readouterr()
    for wrong, message in ((str(tmp_path / "none.safetensors"), "no such file"), ("sod-giant", "no model called")):
        assert fit.main(command(folder, tmp_path / "third", "--validate", "none", "--init", wrong)) == 1
        assert message in capsys.readouterr().err


def masks(folder: Path, change: Change) -> None:
    for path in (folder / "GT").iterdir():
        rewrite_picture(path, change)


FAULTS: dict[str, Callable[[Path], object]] = {
    "there is nothing to learn": lambda root: masks(root, np.zeros_like),
    "are full: there is nothing to learn": lambda root: masks(root, lambda mask: np.full_like(mask, 255)),
    "has no ground truth": lambda root: shutil.rmtree(root / "GT"),
    "holds the labels": lambda root: masks(
        root, lambda mask: mask // 255 + (np.indices(mask.shape)[0] % 3).astype("u1")
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_masks_that_teach_nothing_are_refused_before_the_first_step(
    folder: Path, tmp_path: Path, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(folder, tmp_path / "set")
    FAULTS[message](root)
    assert fit.main(command(root, tmp_path / "out", "--validate", "none")) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("mutualformer fit: error: ")
    with pytest.raises(DataError, match=message):
        check_masks(rgbd_folder(root), str(root))
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_broken_picture_is_one_sentence_also_from_a_worker(
    folder: Path, tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(folder, tmp_path / "set")
    for path in (root / "RGB").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    arguments = command(root, tmp_path / "out", "--validate", "none", "--workers", workers)
    assert fit.main(arguments) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert "expected a whole picture" in errors.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"steps": -1}, "--steps is -1"),
        ({"batch": 0}, "--batch is 0"),
        ({"minutes": float("nan")}, "--minutes is nan"),
    ],
)
def test_recipes_that_cannot_run_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    recipe = Recipe(**{"name": "x", "steps": 1, "batch": 2, "learning_rate": 1e-3, **changes})
    with pytest.raises(FitError, match=message):
        FitConfig("sod-nano", "synthetic:4", tmp_path, recipe)


@pytest.mark.parametrize("changes", [{"workers": -1}, {"save_every": 0}])
def test_runs_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(FitError, match="expected"):
        tiny("sod", tmp_path, **changes)


def test_an_output_that_cannot_be_written_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert fit.main(command(folder, tmp_path / "file" / "out")) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_corrupt_picture_is_named_and_left_out(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "set")
    for index in (3, split_off(rgbd_folder(folder))[1].indices[0]):
        (copy / "RGB" / f"{index:04d}.jpg").write_bytes(b"no picture")
    (copy / "GT" / "0005.png").write_bytes(b"no mask")
    words = ["sod-nano", "--data", str(copy), "--out", str(tmp_path / "out"), "--steps", "12", "--batch", "4"]
    words += ["--minutes", "0", "--set", "input_size=[32,32]", "--set", "recipe.stages=[[0.0,32]]", "--workers", "0"]
    with caplog.at_level("WARNING", logger="mutualformer"):
        assert fit.main(words) == 0
    for name in ("0003.jpg", "0005.png"):
        assert sum(name in record.message and "left out" in record.message for record in caplog.records) == 1
    out = tmp_path / "out"
    steps = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert {"step", "loss", "bce", "iou", "rate", "rate_backbones", "seconds_a_step"} <= steps[-1].keys()
    validated = [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]
    assert {"held_out", "held_out_no_depth"} <= validated[-1].keys()
    for name in ("curves.png", "validation.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().err
    assert "S-measure" in told
    assert f"next: mutualformer predict PICTURE --model {out / 'model.safetensors'}" in told
    for path in (copy / "RGB").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="is no picture"):
        first_readable(lambda index: rgbd_folder(copy)[index])
