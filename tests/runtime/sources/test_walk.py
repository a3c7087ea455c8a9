"""A folder that is no folder of pictures is left soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources import walk as pictures
from mutualformer.runtime.sources.base import CameraError


def test_a_tree_without_pictures_is_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_bytes(b"")
    assert [path.name for path in pictures.walk(tmp_path)] == ["x.png"]
    monkeypatch.setattr(pictures, "MOST_BARREN", 20)
    with pytest.raises(CameraError, match="20 files and folders without a picture"):
        opening.camera(str(tmp_path))
