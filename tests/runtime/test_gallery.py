"""``mutualformer gallery``: enrol, match, list, remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.runtime import gallery, zoo
from tests.runtime.fakes import FakeSession


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions without a model: red is salient, and a feature is the mean colour."""
    fakes = {gallery.REID: "reid", zoo.DEFAULT: "sod"}
    monkeypatch.setattr(zoo, "load", lambda name, *_, **__: FakeSession(task=fakes[name], size=(24, 32)))


def thing(folder: Path, colour: tuple[int, int, int], name: str = "a") -> Path:
    """A picture of a thing of that colour (RGB) on black; every thing has some red."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[12:36, 20:44] = colour
    cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    return folder


def run(*words: str, capsys: Any = None) -> str:
    """The verb's standard output."""
    assert gallery.main(list(words)) == 0
    return str(capsys.readouterr().out) if capsys else ""


def test_things_are_enrolled_matched_listed_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    thing(tmp_path / "red", (250, 0, 0))
    thing(tmp_path / "red", (240, 10, 0), "b")
    thing(tmp_path / "pink", (250, 0, 200))
    assert "2 views" in run("enrol", "red", "red", capsys=capsys)
    assert "things known: 2" in run("enrol", "pink", "pink", capsys=capsys)
    answers = [json.loads(line) for line in run("match", "red", "--json", capsys=capsys).splitlines()]
    assert [one["name"] for one in answers] == ["red", "red"]
    assert answers[0]["box"] == [0.3125, 0.25, 0.6875, 0.75]
    listing = json.loads(run("list", "--json", capsys=capsys))
    assert listing["things"] == {"red": 2, "pink": 1}
    assert "no measured threshold" in run("list", capsys=capsys)
    run("remove", "red", capsys=capsys)
    assert "pink" in run("match", "red", capsys=capsys)


def test_a_gallery_of_whole_frames_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    thing(tmp_path / "red", (250, 0, 0))
    run("enrol", "red", "red", "--whole", capsys=capsys)
    assert json.loads(run("match", "red", "--json", capsys=capsys))["box"] == [0.0, 0.0, 1.0, 1.0]
    assert gallery.main(["enrol", "other", "red"]) == 1
    assert "needs --whole" in capsys.readouterr().err
