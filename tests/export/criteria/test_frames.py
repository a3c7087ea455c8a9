"""Which frames are taken when nobody names any: real ones where they are, rendered ones always, told in words."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.export.criteria import frames
from mutualformer.export.criteria.frames import Selection, Share, calibration_frames, parity_frames, parity_identities
from mutualformer.export.precision.convert import calibration_feeds
from mutualformer.runtime.contract import Contract

CONTRACT = Contract("sod", "sod-nano", (64, 96))
REID = Contract("reid", "reid-tiny", (64, 64))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs with masks to train and to validate on, and frames of a sensor with holes; a few of each."""
    random = np.random.default_rng(0)
    for name in ("duts_tr", "duts_te"):
        for part in ("RGB", "GT"):
            (tmp_path / name / part).mkdir(parents=True)
        for index in range(3):
            rgb = random.integers(0, 256, (90, 120, 3), np.uint8)
            mask = np.zeros((90, 120), np.uint8)
            mask[30:60, 40:80] = 255
            cv2.imwrite(str(tmp_path / name / "RGB" / f"{index}.png"), rgb)
            cv2.imwrite(str(tmp_path / name / "GT" / f"{index}.png"), mask)
    for part in ("RGB", "depth"):
        (tmp_path / "sensor_frames" / part).mkdir(parents=True)
    for index in range(3):
        depth = random.integers(800, 3000, (96, 128), np.uint16)
        depth[random.random(depth.shape) < 0.2] = 0
        cv2.imwrite(str(tmp_path / "sensor_frames" / "depth" / f"{index}.png"), depth)
        rgb = random.integers(0, 256, (96, 128, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "sensor_frames" / "RGB" / f"{index}.png"), rgb)
    monkeypatch.setenv("MUTUALFORMER_DATA", str(tmp_path))
    return tmp_path


def test_parts_are_picked_evenly_and_counted() -> None:
    part = Share("numbers", lambda index: index, 10, 4)
    assert list(part) == [0, 3, 6, 9]
    both = Selection((part, Share("letters", lambda index: "ab"[index], 2, 5)))
    assert (len(both), list(both)) == (6, [0, 3, 6, 9, "a", "b"])
    assert both.text == "4 numbers, 2 letters"


def test_without_data_there_are_rendered_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUTUALFORMER_DATA", raising=False)
    monkeypatch.delenv("MUTUALFORMER_SAMPLES", raising=False)
    assert calibration_frames(CONTRACT).text == "52 rendered (synthetic:52?seed=9), 12 grey ones, 43 % of depth missing"
    assert [part.about.split()[0] for part in parity_frames(CONTRACT).parts][-2:] == ["rendered", "grey"]
    assert calibration_frames(REID).text == "64 rendered (synthetic:64?seed=9)"


def test_real_frames_come_first(data: Path) -> None:
    selection = calibration_frames(CONTRACT)
    assert [part.about.split()[0] for part in selection.parts] == [*("sensor", "photographs", "rendered", "grey")]
    assert len(selection) == 64  # rendered ones fill up what the sets lack
    judged = parity_frames(CONTRACT)
    names = [part.about for part in judged.parts]
    assert any("duts_te" in name for name in names)
    assert not any("duts_tr" in name for name in names)
    assert (next(iter(selection.parts[0])).depth > 0).any()
    assert not next(iter(selection.parts[1])).depth.any()
    worn = next(iter(selection.parts[-1]))
    assert (worn.rgb == worn.rgb[..., :1]).all()
    assert 0.25 < (worn.depth == 0).mean() < 0.85


def test_objects_of_photographs_are_identities_of_two_cameras(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_rendered", lambda contract, count, seed: Share("rendered", int, count, count))
    text = calibration_frames(REID).text
    assert text == "6 pictures of objects of duts_tr, near-infrared from colour, 58 rendered"
    judged, text = parity_identities(REID)
    assert text.startswith("6 pictures of objects of duts_te")
    assert judged.identities.tolist() == [0, 1, 2] * 2
    assert set(judged.cameras[judged.query]) == {0}
    assert set(judged.cameras[judged.gallery]) == {1}
    day, dim = judged[0], judged[3]
    assert (day.name, day.rgb.shape, dim.rgb.shape) == (dim.name, (34, 44, 3), (42, 56, 3))
    assert dim.rgb.mean() < 0.6 * day.rgb.mean()
    assert (day.nir == day.nir[..., :1]).all()


def test_default_calibration_is_said_aloud(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mutualformer")
    feeds, text = calibration_feeds(None, CONTRACT)
    assert f"calibrating on {text}" in caplog.text
    assert "photographs of duts_tr" in text
    assert feeds[0]["rgb"].shape == (1, 64, 96, 3)
