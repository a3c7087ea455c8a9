"""DATA: standard sets however they are spelled, lists of names, sums of sets, polarity from evidence."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders import sets
from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.folders.polarity import Evidence, verdict
from mutualformer.runtime.sources.folders.rgbd import rgbd_folder
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.grammar import joined
from tests.train.support.scenes import write_rgbd


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sets, with three frames in each split."""
    import dataclasses

    few = {name: dataclasses.replace(known, frames=dict.fromkeys(known.frames, 3)) for name, known in sets.SETS.items()}
    monkeypatch.setattr(sets, "SETS", few)


def test_the_published_counts() -> None:
    counts = {name: dict(known.frames) for name, known in sets.SETS.items() if known.task == "sod"}
    assert counts == {
        "nju2k": {"train": 1485, "test": 500},
        "nlpr": {"train": 700, "test": 300},
        "dut-rgbd": {"train": 800, "test": 400},
        "sip": {"test": 929},
        "stere": {"test": 1000},
        "lfsd": {"test": 100},
    }
    assert all(set(known.paper) == set(sets.PAPER_KEYS) for known in sets.SETS.values() if known.task == "sod")
    assert "http" in sets.listing()


SPELLINGS = {
    "nju2k": ("NJU2K_TRAIN", "NJU2K/train", "NJUD/trainset", "train/NJU2K", "TrainingSet/NJU2K_TRAIN", "NJU2K-Train"),
    "nlpr": ("NLPR_TRAIN", "TrainSet/NLPR"),
    "dut-rgbd": ("DUT-RGBD/train_data", "DUTLF-D/Train", "DUT_RGBD_train"),
}


@pytest.mark.parametrize(("name", "spelling"), [(n, s) for n, all_of in SPELLINGS.items() for s in all_of])
def test_spellings(small_sets: None, tmp_path: Path, name: str, spelling: str) -> None:
    write_rgbd(tmp_path / spelling, count=3)
    other = spelling.replace("rain", "est").replace("RAIN", "EST").replace("estingSet", "estSet")
    write_rgbd(tmp_path / other, count=3, seed=50)
    train = opening.frames(f"rgbd:{tmp_path}/{name}?polarity=near_bright", split="train")
    test = opening.frames(f"rgbd:{tmp_path}/{name}?polarity=near_bright", split="test")
    assert isinstance(train, FileFrames)
    assert isinstance(test, FileFrames)
    assert (train.root, test.root) == (tmp_path / spelling, tmp_path / other)
    assert not np.array_equal(train[0].rgb, test[0].rgb)


def test_folder_spellings_of_dut(tmp_path: Path) -> None:
    write_rgbd(tmp_path, count=2, folders=("train_images", "train_depth", "train_masks"))
    assert len(rgbd_folder(tmp_path)) == 2
    assert rgbd_folder(tmp_path)[0].mask is not None


def test_a_list_of_names_is_honoured(small_sets: None, tmp_path: Path) -> None:
    write_rgbd(tmp_path / "NJU2K", count=6)
    with pytest.raises(DataError, match=r"holds 6 frames and does not say which are train; put .*train\.txt"):
        opening.frames(f"rgbd:{tmp_path}/nju2k?polarity=near_bright", split="train")
    (tmp_path / "NJU2K" / "NJU2K_train.txt").write_text("0001\n0003.jpg\nRGB/0005.jpg depth/0005.png GT/0005.png\n")
    (tmp_path / "NJU2K" / "test.lst").write_text("0000\n0002\n0004\n")
    train = opening.frames(f"rgbd:{tmp_path}/nju2k?polarity=near_bright", split="train")
    assert [train[i].name for i in range(len(train))] == ["0001", "0003", "0005"]
    plain = opening.frames(str(tmp_path / "NJU2K"))  # a plain folder has its splits too
    assert [plain[i].name for i in range(len(plain))] == ["0000", "0002", "0004"]
    (tmp_path / "NJU2K" / "test.lst").write_text("0000\n0009\n")
    with pytest.raises(DataError, match=r"test\.lst: names 0009 \(1 of 2"):
        opening.frames(str(tmp_path / "NJU2K"))
    (tmp_path / "NJU2K" / "test.lst").write_text("0000\n0000\n")
    with pytest.raises(DataError, match="names 0000 twice"):
        opening.frames(str(tmp_path / "NJU2K"))


def test_a_count_that_is_not_the_published_one_is_a_warning(
    small_sets: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rgbd(tmp_path / "SIP", count=2)
    with caplog.at_level(logging.WARNING, "mutualformer"):
        opening.frames(f"rgbd:{tmp_path}/sip?polarity=near_bright")
    assert "2 frames, sip's test split has 3" in caplog.text


def test_sums(small_sets: None, tmp_path: Path) -> None:
    write_rgbd(tmp_path / "NJU2K_TRAIN", count=3)
    write_rgbd(tmp_path / "NLPR_TRAIN", count=3, seed=9)
    frames = opening.frames(f"rgbd:{tmp_path}/nju2k+nlpr?polarity=near_bright", split="train")
    assert [frames[i].name for i in (0, 3, 5)] == ["nju2k/0000", "nlpr/0000", "nlpr/0002"]
    mixed = opening.frames(f"{tmp_path}/NJU2K_TRAIN+synthetic:2?seed=4", size=(32, 32))
    assert len(mixed) == 5
    assert mixed[4].name == "synthetic-2-seed-4/seed4-00001"
    with pytest.raises(IndexError):
        mixed[5]
    assert [str(one) for one in joined("rgbd:/r/nju2k+nlpr?polarity=auto+synthetic:3?seed=1")] == [
        "rgbd:/r/nju2k?polarity=auto",
        "rgbd:/r/nlpr?polarity=auto",
        "synthetic:3?seed=1",
    ]
    assert [part.short for part in opening.expand("rgbd:/r/standard", "train")] == ["nju2k", "nlpr"]
    assert len(opening.expand("rgbd:/r/standard?polarity=auto", "test")) == 6
    both = tmp_path / "a+b"
    shutil.copytree(tmp_path / "NJU2K_TRAIN", both)
    assert len(opening.frames(str(both))) == 3  # "+" in a folder's name does not join sets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rgbd:{}/nju3k", "set 'nju3k' is unknown, expected one of nju2k"),
        ("rgbd:{}/lfsd", "holds no test split of lfsd.*comes from http"),
        ("rgbd:{}/sip?split=train", "sip has no train split"),
        ("rgbd:{}/rgbn300", "holds identities"),
        ("{}/a++b", "an address before or after a . is missing"),
        ("rgbd:/nowhere/lfsd", "/nowhere: no such folder"),
        ("pairs:{0},{0}?split=val", "split is 'val'"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opening.frames(text.format(tmp_path))


@pytest.mark.parametrize("polarity", ["near_bright", "near_dark"])
def test_polarity_from_evidence(tmp_path: Path, polarity: str) -> None:
    write_rgbd(tmp_path, count=16, polarity=polarity)
    frames = rgbd_folder(tmp_path, ReadOptions(polarity="auto"))
    assert frames.rule.polarity == polarity
    explicit = rgbd_folder(tmp_path, ReadOptions(polarity=polarity))
    np.testing.assert_array_equal(frames[0].depth, explicit[0].depth)
    mask = frames[0].mask
    assert mask is not None
    inside = mask > 0
    assert np.median(frames[0].depth[inside]) < np.median(frames[0].depth[~inside])  # metres: salient is nearer


def test_polarity_that_cannot_be_decided_is_refused(tmp_path: Path) -> None:
    write_rgbd(tmp_path, count=4)
    for path in (tmp_path / "depth").iterdir():
        cv2.imwrite(str(path), np.full((48, 64), 90, np.uint8))
    with pytest.raises(DataError, match=r"cannot be decided \(no frame decides it\); append \?polarity="):
        rgbd_folder(tmp_path, ReadOptions(polarity="auto"))


def test_witnesses_that_contradict_each_other_settle_nothing() -> None:
    def votes(bright: int, dark: int) -> list[int]:
        return [1] * bright + [-1] * dark + [0]

    assert Evidence(votes(30, 1), votes(28, 2)).polarity == "near_bright"
    assert Evidence(votes(30, 1), votes(5, 6)).polarity == "near_bright"
    assert Evidence(votes(30, 1), votes(2, 28)).polarity == ""
    assert Evidence(votes(2, 1)).polarity == ""
    assert [verdict(votes(*one)) for one in ((0, 0), (6, 0), (7, 0), (9, 3), (0, 7))] == [0, 0, 1, 0, -1]
