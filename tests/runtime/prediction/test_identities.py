"""ReID: features into a table, the nearest known identities as pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.prediction.identities import ANSWERS, predict_identities
from mutualformer.runtime.sources.inputs import SourceError
from tests.pictures import read_picture
from tests.runtime.fakes import FakeSession


def write_pairs(folder: Path, names: dict[str, int]) -> Path:
    """Pairs ``rgb/NAME.png`` and ``nir/NAME.png`` whose colours depend on the number."""
    for spectrum, turn in (("rgb", 0), ("nir", 1)):
        (folder / spectrum).mkdir(parents=True, exist_ok=True)
        for name, number in names.items():
            colour = np.roll(np.random.default_rng(number).integers(0, 256, 3), turn)
            image = np.full((24, 16, 3), colour, np.uint8)
            assert cv2.imwrite(str(folder / spectrum / f"{name}.png"), image)
    return folder


def test_features_and_matches(tmp_path: Path) -> None:
    session = FakeSession(task="reid", size=(16, 16))
    gallery = write_pairs(tmp_path / "gallery", {f"car{number}_0": number for number in range(8)})
    query = write_pairs(tmp_path / "query", {"a": 3, "b": 5})
    source = f"pairs:{query / 'rgb'},{query / 'nir'}?nir=1"
    summary = predict_identities([source], session, tmp_path / "out", gallery=gallery, limit=None, batch=4)
    assert (summary.frames, summary.computed, summary.exit_code) == (2, 2, 0)
    with (tmp_path / "out/features.csv").open(newline="") as stream:
        header, *lines = list(csv.reader(stream))
    assert header[:2] == ["name", "f0"]
    features = np.array([[float(value) for value in line[1:]] for line in lines])
    assert np.abs(np.linalg.norm(features, axis=1) - 1).max() < 1e-6
    with (tmp_path / "out/matches.csv").open(newline="") as stream:
        matches = list(csv.DictReader(stream))
    assert len(matches) == 2 * ANSWERS
    best = [row for row in matches if row["rank"] == "1"]
    assert [row["identity"] for row in best] == ["car3", "car5"]
    assert all(float(row["similarity"]) > 0.9999 for row in best)
    pictures = sorted((tmp_path / "out/matches").iterdir())
    assert len(pictures) == 2
    assert read_picture(pictures[0]).shape[1] == (2 + ANSWERS) * sheet.CELL[1]


def test_a_source_without_near_infrared_is_refused(tmp_path: Path) -> None:
    session = FakeSession(task="reid", size=(16, 16))
    with pytest.raises(SourceError, match="gives no near-infrared image"):
        predict_identities(
            ["synthetic://?fps=0&frames=2&size=32x24"],
            session,
            tmp_path,
            gallery=None,
            limit=None,
            batch=2,
        )
    assert not (tmp_path / "features.csv").exists(), "no half-written table"
