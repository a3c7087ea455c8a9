"""``mutualformer.predict``: files and arrays, depth in every form, errors as sentences."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import mutualformer
from mutualformer.runtime.prediction.accepted import colour_array, depth_array
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.sources.frame import DataError
from tests.pictures import read_picture
from tests.runtime.fakes import FakeSession
from tests.runtime.prediction.conftest import write_pictures


def test_a_file_gives_a_map_of_its_own_size(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1, depth=True)
    model = mutualformer.load(red)
    result = mutualformer.predict(model, tmp_path / "RGB/0.png", tmp_path / "depth/0.png")
    assert isinstance(result, mutualformer.Prediction)
    assert result.mask.shape == result.rgb.shape[:2] == (40, 60)
    assert result.mask.dtype == np.float32
    assert (result.name, result.model) == ("0", "red-channel")
    assert result.nearest_object_m is not None
    # The model says red ÷ 255 at its own size; the map comes back bilinearly.
    small = cv2.resize(result.rgb, (48, 32), interpolation=cv2.INTER_AREA)[..., 0].astype(np.float32) / 255
    assert np.abs(result.mask - cv2.resize(small, (60, 40), interpolation=cv2.INTER_LINEAR)).max() < 1e-5


def test_files_and_arrays_agree(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1, depth=True)
    rgb = cv2.cvtColor(read_picture(tmp_path / "RGB/0.png"), cv2.COLOR_BGR2RGB)
    units = read_picture(tmp_path / "depth/0.png", cv2.IMREAD_UNCHANGED)
    files = mutualformer.predict(red, tmp_path / "RGB/0.png", tmp_path / "depth/0.png")
    arrays = mutualformer.predict(red, rgb, units, depth_scale=0.001)
    metres = mutualformer.predict(red, rgb, units.astype(np.float64) * 0.001)
    for other in (arrays, metres):
        assert np.array_equal(files.mask, other.mask)
        assert files.nearest_object_m == pytest.approx(other.nearest_object_m, abs=1e-6)


def test_without_depth_no_distance_is_told(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    result = mutualformer.predict(red, tmp_path / "0.png")
    assert result.depth is None
    assert result.nearest_object_m is None


def test_a_phone_s_picture_is_turned_upright(red: Path, tmp_path: Path) -> None:
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20] = 255
    data = bytes(cv2.imencode(".jpg", stored)[1])
    # EXIF: orientation 6 = turn a quarter clockwise to see it upright (big-endian TIFF, one entry).
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "phone.jpg").write_bytes(data[:2] + segment + data[2:])
    result = mutualformer.predict(red, tmp_path / "phone.jpg")
    assert result.rgb.shape == (60, 40, 3)
    assert result.rgb[:, 30:].mean() > 250
    assert result.mask.shape == (60, 40)


def test_reid_models_give_embeddings() -> None:
    session = FakeSession(task="reid")
    rng = np.random.default_rng(0)
    rgb, nir = rng.integers(0, 256, (2, 20, 30, 3), np.uint8)
    one = mutualformer.predict(session, rgb, nir=nir)
    assert isinstance(one, mutualformer.Embedding)
    assert np.linalg.norm(one.feature) == pytest.approx(1.0)
    assert one.similarity(one) == pytest.approx(1.0)
    with pytest.raises(InputError, match="compares RGB-NIR pairs"):
        mutualformer.predict(session, rgb)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), r"rgb is float32 \(4, 5, 3\), expected uint8 .*multiply a picture"),
        (np.zeros((4, 5, 2), np.uint8), r"rgb is uint8 \(4, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), r"expected uint8 \(H, W, 3\)"),
    ],
)
def test_colour_that_does_not_fit_is_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        colour_array(image)


def test_grey_and_transparent_pictures_are_taken() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert np.array_equal(colour_array(grey)[..., 1], grey)
    assert colour_array(np.zeros((4, 5, 4), np.uint8)).shape == (4, 5, 4)
    assert colour_array(grey[..., None]).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("depth", "scale", "message"),
    [
        (np.zeros((4, 5), np.uint16), None, "without a unit: give depth_scale"),
        (np.zeros((4, 5), np.float32), 0.001, "float, which is metres already"),
        (np.zeros((4, 5), np.int64), 0.001, "depth is int64"),
        (np.zeros((4, 5, 2), np.float32), None, r"expected \(H, W\)"),
        (np.zeros((4, 5), np.uint16), -1.0, "depth_scale is -1"),
    ],
)
def test_depth_that_does_not_fit_is_refused(depth: np.ndarray, scale: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        depth_array(depth, scale)


def test_holes_in_float_depth_become_zero() -> None:
    depth = np.array([[np.nan, np.inf, -1.0, 2.5]], np.float64)
    assert depth_array(depth, None).tolist() == [[0.0, 0.0, 0.0, 2.5]]


def test_sizes_that_differ_and_files_that_are_missing_are_named(red: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    with pytest.raises(DataError, match=r"nosuch\.png"):
        mutualformer.predict(red, tmp_path / "nosuch.png")
    cv2.imwrite(str(tmp_path / "depth.png"), np.zeros((20, 50), np.uint16))
    with pytest.raises(DataError, match=r"depth.png: depth is 50×20 and colour 60×40, expected one shape"):
        mutualformer.predict(red, tmp_path / "0.png", tmp_path / "depth.png")
    with pytest.raises(InputError, match="expected one shape"):
        mutualformer.predict(red, np.zeros((4, 5, 3), np.uint8), np.ones((5, 5), np.float32))
