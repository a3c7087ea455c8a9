"""Composites: what is pasted is salient and where it is, depth belongs to it, and nothing is certain that is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.photographs.faults import holed, spoil
from lab.photographs.paste import Canvas, paste, turned
from lab.photographs.photographs import Cutout, Photographs
from lab.photographs.plausible import plausible_depth
from lab.photographs.scenes import Composite, bystanders, into_sensor_frame, on_a_table
from lab.photographs.sensor import SensorFrames
from mutualformer.runtime.sources.frame import DataError

SIZE = (96, 128)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs of a bright disc on noise, three sensor frames with holes, a teacher who saw a box in each."""
    folder = tmp_path_factory.mktemp("photo")
    rng = np.random.default_rng(0)
    for name in ("photos/RGB", "photos/GT", "sensor/RGB", "sensor/depth", "teacher"):
        (folder / name).mkdir(parents=True)
    for index in range(8):
        rgb, mask = rng.integers(0, 90, (100, 120, 3)).astype(np.uint8), np.zeros((100, 120), np.uint8)
        centre = (int(rng.integers(40, 80)), int(rng.integers(40, 60)))
        cv2.circle(mask, centre, 22, 255, -1)
        rgb[mask > 0] = (20, 40, 240)
        cv2.imwrite(str(folder / f"photos/RGB/{index}.webp"), rgb)
        cv2.imwrite(str(folder / f"photos/GT/{index}.png"), mask)
    for index in range(3):
        depth = np.tile(np.linspace(3000, 900, 90)[:, None], (1, 120)).astype(np.uint16)
        depth[:20, :30] = 0
        taught = np.zeros((90, 120), np.uint8)
        taught[40:60, 50:80] = 255
        cv2.imwrite(str(folder / f"sensor/RGB/{index}.webp"), rng.integers(90, 140, (90, 120, 3)).astype(np.uint8))
        cv2.imwrite(str(folder / f"sensor/depth/{index}.png"), depth)
        cv2.imwrite(str(folder / f"teacher/{index}.png"), taught)
    return folder


@pytest.fixture(scope="module")
def photographs(root: Path) -> Photographs:
    return Photographs(root / "photos")


def _check(scene: Composite) -> None:
    rows, columns = SIZE
    assert scene.rgb.shape == (rows, columns, 3)
    assert scene.rgb.dtype == np.uint8
    assert scene.depth.shape == scene.mask.shape == scene.certain.shape == SIZE
    assert scene.depth.dtype == np.float32
    assert np.isfinite(scene.depth).all()
    assert (scene.depth >= 0).all()
    assert set(np.unique(scene.mask)) <= {0, 255}
    assert set(np.unique(scene.certain)) <= {0, 1}


def test_a_cutout_is_the_object_and_not_its_background(photographs: Photographs) -> None:
    cutout = photographs.cutout(np.random.default_rng(1))
    assert cutout is not None
    inside = cutout.rgb[cutout.alpha > 0.95].astype(int)
    assert inside[:, 0].mean() > 200
    assert inside[:, 2].mean() < 60
    assert 35 < max(cutout.alpha.shape) < 55


@pytest.mark.parametrize("seed", range(6))
def test_objects_on_a_table_are_salient_and_seen(photographs: Photographs, seed: int) -> None:
    scene = on_a_table(photographs, SIZE, np.random.default_rng(seed))
    _check(scene)
    assert scene.certain.all()
    red = (scene.rgb[..., 0].astype(int) - scene.rgb[..., 1]) > 90
    assert red.any()
    assert (scene.mask[red] > 0).mean() > 0.7
    assert 0.005 < (scene.mask > 0).mean() < 0.8


@pytest.mark.parametrize("seed", range(8))
def test_what_a_sensor_frame_holds_already_is_not_called_background(
    root: Path, photographs: Photographs, seed: int
) -> None:
    frames = SensorFrames(root / "sensor", root / "teacher")
    scene = into_sensor_frame(photographs, frames, SIZE, np.random.default_rng(seed))
    _check(scene)
    assert (scene.mask > 0).any()
    assert scene.certain[scene.mask > 0].all()
    untold = into_sensor_frame(photographs, SensorFrames(root / "sensor"), SIZE, np.random.default_rng(seed))
    pasted = (untold.certain > 0).mean()
    assert 0 < pasted < 1  # without a teacher nothing is known but what was pasted


def test_a_sensor_frame_without_a_teachers_map_is_left_out(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(root / "teacher" / "1.png", tmp_path)
    frames = SensorFrames(root / "sensor", tmp_path)
    assert frames.names == ["1"]
    assert "2 of 3 frames are left out" in caplog.text
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match="has no map of the 3 frames"):
        SensorFrames(root / "sensor", tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_a_bystander_is_background_and_stays_behind_what_is_salient(photographs: Photographs, seed: int) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[20:80, 40:90] = 1
    canvas = Canvas(np.zeros((*SIZE, 3), np.float32), np.ones(SIZE, np.float32), mask.copy(), np.ones(SIZE, np.uint8))
    bystanders(canvas, photographs, 4, 50, np.random.default_rng(seed))
    np.testing.assert_array_equal(canvas.mask, mask)
    assert canvas.certain.all()
    changed = canvas.rgb.max(axis=2) > 20
    assert changed.any()
    assert not changed[mask > 0].any()
    assert (canvas.depth[mask > 0] == 1).all()


def test_a_pasted_object_stands_where_it_was_put_and_hides_behind_what_is_nearer() -> None:
    alpha = np.ones((30, 20), np.float32)
    cutout = Cutout(np.full((30, 20, 3), 200, np.uint8), alpha)

    def canvas() -> Canvas:
        depth = np.full(SIZE, 2.0, np.float32)
        depth[:, :64] = 0.5
        return Canvas(np.zeros((*SIZE, 3), np.float32), depth, np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8))

    rng = np.random.default_rng(0)
    open_space = canvas()
    assert paste(open_space, cutout, (80, 100), 1.5, rng, salient=True)
    assert open_space.mask[50:80, 90:110].all()
    assert open_space.mask.sum() == 600
    measured = open_space.depth[50:80, 90:110]
    assert 1.2 < float(np.median(measured[measured > 0])) < 1.7
    behind = canvas()
    assert not paste(behind, cutout, (80, 30), 1.5, rng, salient=True)  # all of it is hidden
    assert not behind.mask.any()
    assert (behind.depth[:, :64] == 0.5).all()
    half = canvas()
    assert paste(half, cutout, (80, 64), 1.5, rng, salient=True)
    assert not half.mask[:, :64].any()
    assert half.mask[50:80, 64:74].all()


@given(st.integers(8, 70), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_turning_keeps_the_size_asked_for(side: int, seed: int) -> None:
    cutout = Cutout(np.full((60, 30, 3), 9, np.uint8), np.ones((60, 30), np.float32))
    small = turned(cutout, side, np.random.default_rng(seed))
    assert small.rgb.shape[:2] == small.alpha.shape
    assert 0.8 * side - 2 <= max(small.alpha.shape) <= 1.35 * side + 3


@given(st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_plausible_depth_is_finite_and_no_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb, mask = rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), np.zeros(SIZE, np.uint8)
    mask[30:70, 40:90] = 255
    depth = plausible_depth(rgb, mask, rng)
    assert depth.shape == SIZE
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()
    assert (depth >= 0).all()
    assert depth.max() < 30


def test_salient_is_mostly_but_not_always_nearer() -> None:
    nearer = []
    mask = np.zeros(SIZE, np.uint8)
    mask[30:70, 40:90] = 255
    for seed in range(120):
        rng = np.random.default_rng(seed)
        rgb = cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8), (0, 0), 6)
        depth = plausible_depth(rgb, mask, rng)
        inside, ring = depth[35:65, 45:85], depth[20:80, 30:100]
        inside, ring = inside[inside > 0], ring[ring > 0]
        nearer.append(float(np.median(inside)) < 0.97 * float(np.median(ring)))
    assert 0.3 < np.mean(nearer) < 0.9


@given(st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_faults_give_maps_of_the_same_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth, other = (rng.uniform(0.5, 4, SIZE).astype(np.float32) for _ in range(2))
    spoilt = spoil(depth, other, rng)
    assert spoilt.shape == SIZE
    assert spoilt.dtype == np.float32
    assert np.isfinite(spoilt).all()
    assert not np.array_equal(spoilt, depth)
    share = float((holed(depth, 0.6, rng) == 0).mean())
    assert 0.5 < share < 0.7


def test_folders_that_lack_something_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the folders RGB/ and GT/"):
        Photographs(root / "sensor")
    with pytest.raises(DataError, match="no such folder"):
        SensorFrames(tmp_path / "absent")
