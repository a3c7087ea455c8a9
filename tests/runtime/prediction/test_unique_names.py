"""No two frames of a run share a name, whatever they are called."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mutualformer.runtime.prediction import saving
from mutualformer.runtime.prediction.result import Prediction
from mutualformer.runtime.prediction.unique_names import ENDINGS, Names, safe_name


def test_a_name_that_was_made_up_hits_no_real_one() -> None:
    names = Names()
    assert [names.give(name) for name in ("a", "a", "a-2", "a", "b")] == ["a", "a-2", "a-2-2", "a-3", "b"]


def test_names_are_compared_after_cleaning_and_as_any_disk_does() -> None:
    names = Names()
    accents = "é.jpg"
    asked = ["shot:1", "shot_1", "Photo", "photo", accents, unicodedata.normalize("NFD", accents)]
    given_ = [names.give(name) for name in asked]
    assert given_[:4] == ["shot_1", "shot_1-2", "Photo", "photo-2"]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in given_}) == len(asked)


def test_no_folder_is_called_like_an_output_file() -> None:
    asked = ["shot", "shot.png/a", "SHOT.Json/a", "shot.png"]
    assert [safe_name(name) for name in asked] == ["shot", "shot.png_/a", "SHOT.Json_/a", "shot.png"]
    assert set(ENDINGS) == set(saving.KINDS.values())


@given(st.lists(st.text(alphabet="aA-2./:", max_size=6), max_size=30))
def test_any_names(asked: list[str]) -> None:
    names = Names()
    told = [names.give(name) for name in asked]
    assert len({name.casefold() for name in told}) == len(asked)
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in told)
    assert all(name == safe_name(name) for name in told)


def thing(level: int, name: str = "picture") -> Prediction:
    """A picture of one colour."""
    return Prediction(np.full((4, 5, 3), level, np.uint8), np.ones((4, 5), np.float32), name=name)


def test_many_arrays_saved_into_one_folder_are_many_files(tmp_path: Path) -> None:
    for level in range(5):
        thing(level).save(tmp_path, ["mask"])
    assert len(list((tmp_path / "mask").iterdir())) == 5


def test_two_photographs_of_one_name_are_two_files_and_one_saved_twice_is_one(tmp_path: Path) -> None:
    first, again, other = thing(1, "a").save(tmp_path, ["mask"]), thing(1, "a").save(tmp_path), thing(2, "a")
    assert first[0] in again
    assert other.save(tmp_path, ["mask"])[0].name == "a-2.png"
