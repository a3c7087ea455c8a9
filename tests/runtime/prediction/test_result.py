"""What can be made of one answer: numbers, pictures, files, COCO's run lengths."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mutualformer.runtime.prediction import saving
from mutualformer.runtime.prediction.result import Prediction, run_lengths
from mutualformer.runtime.prediction.unique_names import safe_name
from tests.pictures import read_picture


def sample(metric: bool = True) -> Prediction:
    """A rectangle 2 m away in a picture of 40 × 60, on a wall 5 m away."""
    rng = np.random.default_rng(1)
    mask = np.zeros((40, 60), np.float32)
    mask[8:24, 12:30] = 0.9
    depth = np.where(mask > 0.5, 2.0, 5.0).astype(np.float32)
    return Prediction(rng.integers(1, 256, (40, 60, 3), np.uint8), mask, depth, "thing", "test", metric)


def test_box_area_and_distance() -> None:
    result = sample()
    (one,) = result.objects
    assert one.pixels(40, 60) == (12, 8, 30, 24)
    assert one.distance_m == one.nearest_m == result.nearest_object_m == pytest.approx(2.0)
    assert one.area == pytest.approx(16 * 18 / 2400)
    assert result.binary().sum() == (result.labels == 1).sum() == 16 * 18
    assert not result.binary(0.95).any()


def test_relative_depth_tells_no_distance() -> None:
    assert sample(metric=False).nearest_object_m is None
    assert sample(metric=False).to_json()["objects"][0]["distance_m"] is None


def test_nothing_salient_is_said_with_nulls() -> None:
    empty = Prediction(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32))
    assert empty.objects == ()
    assert empty.nearest_object_m is None
    line = empty.to_json()
    assert (line["nearest_object_m"], line["objects"]) == (None, [])


def test_a_cutout_hides_the_background_and_keeps_the_object() -> None:
    result = sample()
    rgba = result.cutout()
    assert rgba.shape == (40, 60, 4)
    inner = (slice(10, 22), slice(14, 28))
    assert (rgba[inner][..., 3] == 255).all(), "the model's 0.9 is no wish for a half-transparent object"
    assert not rgba[result.alpha == 0].any(), "no colour may hide below a transparent pixel"
    assert np.array_equal(rgba[inner][..., :3], result.rgb[inner])


def test_an_overlay_tints_inside_and_darkens_outside() -> None:
    result = sample()
    overlay = result.overlay().astype(int)
    outside = np.ones((40, 60), bool)
    outside[6:26, 10:32] = False
    assert np.abs(overlay[outside] - 0.6 * result.rgb[outside]).max() <= 2
    inside = overlay[14:18, 18:24].reshape(-1, 3).mean(0)
    assert inside[0] > inside[2], "orange"


def test_the_contour_touches_only_the_edge() -> None:
    result = sample()
    changed = (result.contour() != result.rgb).any(-1)
    ring = np.zeros((40, 60), bool)
    ring[6:26, 10:32] = True
    ring[11:21, 15:27] = False
    assert changed.any()
    assert not changed[~ring].any()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_coco_s(mask: np.ndarray) -> None:
    code = run_lengths(mask)
    flat = np.concatenate([np.full(count, number % 2) for number, count in enumerate(code["counts"])])
    assert np.array_equal(flat.reshape(mask.shape, order="F").astype(bool), mask)


def test_pycocotools_reads_them() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    mask = sample().binary()
    code = run_lengths(mask)
    assert np.array_equal(coco.decode(coco.frPyObjects(code, *mask.shape)).astype(bool), mask)


def test_every_kind_is_written_where_it_belongs(tmp_path: Path) -> None:
    result = sample()
    paths = result.save(tmp_path, saving.kinds("all"))
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        "mask/thing.png",
        "binary/thing.png",
        "cutout/thing.png",
        "overlay/thing.jpg",
        "contour/thing.jpg",
        "json/thing.json",
    }
    mask = read_picture(tmp_path / "mask/thing.png", cv2.IMREAD_UNCHANGED)
    assert np.abs(mask / 255 - result.mask).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(read_picture(tmp_path / "binary/thing.png", cv2.IMREAD_UNCHANGED) > 0, result.binary())
    cutout = read_picture(tmp_path / "cutout/thing.png", cv2.IMREAD_UNCHANGED)
    assert np.array_equal(cv2.cvtColor(cutout, cv2.COLOR_BGRA2RGBA), result.cutout())
    assert json.loads((tmp_path / "json/thing.json").read_text())["objects"][0]["bbox"] == [12, 8, 18, 16]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b", "a/b"),
        ("../../etc/passwd", "__/__/etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a\x1b[2Jb:c", "a_[2Jb_c"),
        ("", "picture"),
        ("..", "__"),
    ],
)
def test_names_stay_inside_the_output_folder(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_an_unknown_kind_is_one_sentence() -> None:
    with pytest.raises(saving.KindError, match=r"'mask,hologram', expected some of mask,binary"):
        saving.kinds("mask,hologram")
    assert saving.kinds("mask, mask,json") == ("mask", "json")
