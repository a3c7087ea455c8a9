"""photo:ROOT's fixed sets: what is compared on is none of what is validated on, and the same in every call."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lab.photographs.sets import PhotoRoot
from mutualformer.runtime.sources.frame import DataError
from tests.lab.ablation.photo_root import PHOTOGRAPHS, write_photo_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo_root(tmp_path_factory.mktemp("photo"))


def test_unseen_photographs_are_not_validated_on(root: Path) -> None:
    photo = PhotoRoot(root)
    validating = {item.name for item in photo.validation_sets(composites=0)["photographs"].items}
    sets = photo.unseen_sets(50)
    unseen = [item.name for item in sets["photographs"].items]
    assert len(validating) == 100
    assert len(unseen) == len(set(unseen)) == PHOTOGRAPHS - 100
    assert not validating & set(unseen)
    assert [item.name for item in sets["with_depth"].items] == unseen
    assert not any(item.depth.any() for item in sets["photographs"].items)
    assert all(item.depth.any() for item in sets["with_depth"].items)
    composites = sets["composites"].items
    assert len(composites) == 50
    assert all(item.rgb.shape == (320, 320, 3) and item.depth.any() and item.mask.any() for item in composites)


def test_they_are_the_same_in_every_call_and_a_smaller_set_is_part_of_a_larger(root: Path) -> None:
    one, two = PhotoRoot(root).unseen_sets(5), PhotoRoot(root).unseen_sets(3)
    again = PhotoRoot(root).unseen_sets(5)
    for name, frames in one.items():
        for item, same in zip(frames.items, again[name].items, strict=True):
            for part in ("rgb", "depth", "mask"):
                np.testing.assert_array_equal(getattr(item, part), getattr(same, part))
    for item, same in zip(one["composites"].items, two["composites"].items, strict=False):
        np.testing.assert_array_equal(item.rgb, same.rgb)


def test_where_all_are_validated_on_it_is_said(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = tmp_path / "photo"
    shutil.copytree(root, small)
    for path in [*(small / "duts_te" / "RGB").iterdir()][4:]:
        path.unlink()
    sets = PhotoRoot(small).unseen_sets(10)
    assert len(sets["photographs"].items) == 4
    assert "`fit` validates on all of its 4 photographs" in caplog.text
    shutil.rmtree(small / "sensor_frames")
    with pytest.raises(DataError, match="has no sensor_frames/"):
        PhotoRoot(small).unseen_sets(10)
    shutil.rmtree(small / "duts_te")
    with pytest.raises(DataError, match="has no duts_te/"):
        PhotoRoot(small).unseen_sets(10)


def test_a_name_that_is_not_there_is_refused(root: Path) -> None:
    photographs = PhotoRoot(root).train
    assert len(photographs.only(photographs.names[:2])) == 2
    assert len(photographs) == 6
    with pytest.raises(DataError, match="has no absent"):
        photographs.only(["absent"])
