"""Spectra side by side: their seams, an option, or a question show how many there are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.scenes.identities import SyntheticIdentities

SOURCE = SyntheticIdentities(3, 3, (64, 64))
SAMPLES = [SOURCE.sample(index) for index in range(len(SOURCE))]


def write(root: Path, size: tuple[int, int], spectra: int, name: str = "{0:04d}_c{1}_{2:04d}.png") -> Path:
    """``size``: (width, height) of one spectrum."""
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (root / part).mkdir(parents=True)
    for index, sample in enumerate(SAMPLES):
        identity, camera, view = SOURCE.locate(index)
        pictures = [cv2.resize(sample[key], size, interpolation=cv2.INTER_AREA) for key in ("rgb", "nir")]
        pictures += [255 - pictures[1]] if spectra == 3 else []
        for part in ("query", "bounding_box_test"):
            file = root / part / name.format(identity + 1, camera + 1, view)
            cv2.imwrite(str(file), np.hstack(pictures)[..., ::-1])
    return root


@pytest.mark.parametrize("spectra", [2, 3])
@pytest.mark.parametrize("size", [(48, 48), (72, 36), (36, 72), (72, 48), (96, 64), (60, 40)])
def test_the_seams_tell_how_many_there_are(tmp_path: Path, size: tuple[int, int], spectra: int) -> None:
    data = opening.identities(str(write(tmp_path / "set", size, spectra)))
    for index in (0, 7):
        sample = SAMPLES[index]
        rgb, nir = (cv2.resize(sample[key], size, interpolation=cv2.INTER_AREA) for key in ("rgb", "nir"))
        np.testing.assert_array_equal(data[index].rgb, rgb)
        np.testing.assert_array_equal(data[index].nir, nir)


def test_what_the_pictures_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "noise"
    rng = np.random.default_rng(0)
    for part in ("query", "bounding_box_test"):
        (root / part).mkdir(parents=True)
        for camera in (1, 2):
            cv2.imwrite(str(root / part / f"0001_c{camera}_1.png"), rng.integers(0, 256, (32, 96, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"show no seams .* append \?spectra=2 or \?spectra=3"):
        opening.identities(str(root))
    assert opening.identities(f"{root}?spectra=2")[0].nir.shape == (32, 48, 3)
    assert opening.identities(f"{root}?spectra=3")[0].nir.shape == (32, 32, 3)
    for wrong in ("4", "x", ""):
        with pytest.raises(DataError, match="spectra"):
            opening.identities(f"{root}?spectra={wrong}")


@pytest.mark.parametrize("name", ["{0:06d}_cam{1}_0_{2:02d}.png", "{0:04d}_C{1:03d}_{2}.PNG", "{0:04d}_c{1}s1_{2}.png"])
def test_names_of_the_public_sets(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "set", (48, 48), 2, name)
    (root / "query" / "._0001_c1_0.png").write_bytes(b"\0\5\x16\7")
    (root / "query" / "Thumbs.db").write_bytes(b"x")
    data = opening.identities(str(root))
    assert sorted(set(data.identities.tolist())) == [1, 2, 3]
    assert sorted(set(data.cameras.tolist())) == [1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 4])
def test_another_number_of_pictures_is_refused_and_not_cut(tmp_path: Path, count: int) -> None:
    """An RGB-only set (Market-1501) has one picture a file, of any size; two spectra of two cameras make four."""
    for part in ("query", "bounding_box_test"):
        (tmp_path / part).mkdir()
        for index, sample in enumerate(SAMPLES):
            identity, camera, view = SOURCE.locate(index)
            size = (40, 80) if count == 1 else (40, 40)  # 40 is even, and 3 does not go into it
            one, two = (cv2.resize(sample[key], size, interpolation=cv2.INTER_AREA) for key in ("rgb", "nir"))
            file = tmp_path / part / f"{identity + 1:04d}_c{camera + 1}_{view:04d}.png"
            cv2.imwrite(str(file), np.hstack([one, two, 255 - one, 255 - two][:count])[..., ::-1])
    with pytest.raises(DataError, match="show no seams"):
        opening.identities(str(tmp_path))
    assert opening.identities(f"{tmp_path}?spectra=2")[0].rgb.shape[1] == (20 if count == 1 else 80)
