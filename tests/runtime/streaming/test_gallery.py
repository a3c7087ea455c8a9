"""A gallery is one file that only the model that made it reads, and "unknown" is an answer."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.streaming.gallery import THUMBNAIL, UNKNOWN, Gallery, GalleryError

CONTRACT = Contract("reid", "fake", (32, 48), weights_sha256="a" * 64)
MEASURED = replace(CONTRACT, card={"decision": {"threshold": 0.9, "false_accepts": 0.01, "found": 0.8}})


def filled(contract: Contract = CONTRACT) -> Gallery:
    gallery = Gallery(contract)
    for axis, name in enumerate(("mug", "mug", "cup")):
        picture = np.full((40, 30, 3), 50 * axis, np.uint8)
        gallery.add([(name, np.eye(4, dtype=np.float32)[axis], picture)])
    return gallery


def test_a_gallery_comes_back_from_its_file(tmp_path: Path) -> None:
    filled().save(tmp_path / "g.npz")
    back = Gallery.load(tmp_path / "g.npz", CONTRACT)
    assert back.identities == ["mug", "mug", "cup"]
    assert back.names == ["mug", "cup"]
    assert back.features.tolist() == filled().features.tolist()
    assert back.thumbnails.shape == (3, THUMBNAIL, THUMBNAIL, 3)
    assert [int(picture.mean()) for picture in back.thumbnails] == [0, 50, 100]
    assert not back.whole


def test_the_nearest_below_the_threshold_is_unknown() -> None:
    between = np.array([0, 0, 0.8, 0.6], np.float32)
    for contract, name in ((CONTRACT, "cup"), (MEASURED, UNKNOWN)):
        found, similarity = filled(contract).match(between)
        assert found == name
        assert similarity == pytest.approx(0.8)
    assert filled(MEASURED).match(np.array([0, 1, 0, 0], np.float32)) == ("mug", 1.0)
    assert Gallery(MEASURED).match(between) == (UNKNOWN, 0.0)


def test_a_thing_that_is_removed_is_no_answer(tmp_path: Path) -> None:
    gallery = filled()
    assert gallery.remove("mug") == 2
    assert gallery.match(np.array([1, 0, 0.1, 0], np.float32))[0] == "cup"
    with pytest.raises(GalleryError, match="knows cup"):
        gallery.remove("mug")


@pytest.mark.parametrize("name", ["", "a" * 65, "two\nlines", UNKNOWN])
def test_names_that_would_mislead_are_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="printable"):
        Gallery(CONTRACT).add([(name, np.ones(4, np.float32), np.zeros((9, 9, 3), np.uint8))])


def test_another_model_is_refused(tmp_path: Path) -> None:
    filled().save(tmp_path / "g.npz")
    with pytest.raises(GalleryError, match="enrol the things again"):
        Gallery.load(tmp_path / "g.npz", replace(CONTRACT, weights_sha256="b" * 64))
    with pytest.raises(GalleryError, match="is sod"):
        Gallery(Contract("sod", "fake", (32, 48)))


def test_what_is_no_gallery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.npz"
    filled().save(path)
    whole = path.read_bytes()
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, about=np.array([{"schema": 1}], object), features=np.zeros(1), thumbnails=np.zeros(1))
    for content in (b"", b"text", whole[: len(whole) // 2], pickled.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(GalleryError, match="is no gallery"):
            Gallery.load(path, CONTRACT)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("features.npy", "w") as stream:
        for _ in range(1030):
            stream.write(bytes(1 << 20))
    with pytest.raises(GalleryError, match="unpacks to more than"):
        Gallery.load(path, CONTRACT)
