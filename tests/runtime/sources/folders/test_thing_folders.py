"""A folder for each identity, with colour alone or with pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError


def write(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 6, 3), level, np.uint8))


def test_each_folder_is_an_identity_and_every_picture_a_camera(tmp_path: Path) -> None:
    for name, count in (("mug", 3), ("cup", 2)):
        for number in range(count):
            write(tmp_path / name / f"{number}.png", 10 * number + 5)
    write(tmp_path / "pair/rgb/a.png", 200)
    write(tmp_path / "pair/nir/a.png", 90)
    data = opening.identities(str(tmp_path))
    assert data.identities.tolist() == [0, 0, 1, 1, 1, 2]
    assert len(set(data.cameras.tolist())) == len(data) == len(data.query) == len(data.gallery)
    assert (data[1].name, int(data[1].rgb.mean()), int(data[1].nir.max())) == ("cup/1", 15, 0)
    assert (int(data[5].rgb.mean()), int(data[5].nir.mean())) == (200, 90)
    write(tmp_path / "pair/rgb/b.png", 200)
    with pytest.raises(DataError, match="no near-infrared picture of its name"):
        opening.identities(str(tmp_path))
