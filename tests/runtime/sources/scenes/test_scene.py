"""Synthetic scenes: seeded, exact, honest about the rule of saliency, and cached without change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.scenes.cache import render
from mutualformer.runtime.sources.scenes.identities import CAMERAS, VIEWS, SyntheticIdentities, view
from mutualformer.runtime.sources.scenes.primitives import (
    BOX,
    CYLINDER,
    SPHERE,
    Pinhole,
    Solid,
    along,
    intersect,
    yaw,
)
from mutualformer.runtime.sources.scenes.scene import SyntheticScenes, scene

SIZE = (96, 128)


def test_a_seed_is_a_scene() -> None:
    first, again, other = scene(5, SIZE), scene(5, SIZE), scene(6, SIZE)
    for name in ("rgb", "depth", "mask", "true_depth"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.rgb, other.rgb)


def test_types_ranges_and_that_there_is_something_to_find() -> None:
    shares, holes = [], []
    for seed in range(24):
        built = scene(seed, SIZE)
        assert (built.rgb.dtype, built.rgb.shape) == (np.dtype(np.uint8), (*SIZE, 3))
        assert (built.depth.dtype, built.depth.shape) == (np.dtype(np.float32), SIZE)
        assert set(np.unique(built.mask)) == {0, 255}
        assert np.isfinite(built.depth).all()
        assert (built.depth >= 0).all()
        assert (built.true_depth > 0.05).all()
        shares.append((built.mask > 0).mean())
        holes.append((built.depth == 0).mean())
    assert 0.02 < min(shares) < 0.1 < max(shares) < 0.7
    assert 0.01 < np.mean(holes) < 0.3


def test_measured_depth_is_true_depth_with_noise_that_grows_with_distance() -> None:
    near, far = [], []
    for seed in range(40):
        built = scene(seed, SIZE)
        valid = built.depth > 0
        error = np.abs(built.depth - built.true_depth) / built.true_depth
        assert np.median(error[valid]) < 0.05
        relative = built.true_depth / np.median(built.true_depth)
        near.append(np.median(error[valid & (relative < 0.8)]))
        far.append(np.median(error[valid & (relative > 1.5)]) if (valid & (relative > 1.5)).any() else np.nan)
    assert np.nanmean(far) > 1.2 * np.nanmean(near)


def test_salient_objects_stand_in_front_and_brightness_does_not_tell() -> None:
    ahead, brighter = 0, 0
    for seed in range(40):
        built = scene(seed, SIZE)
        inside = built.mask > 0
        rows = np.flatnonzero(inside.any(axis=1))
        band = np.zeros_like(inside)
        band[rows[0] : (rows[0] + rows[-1]) // 2] = True  # above the floor it stands on
        if (band & inside).any() and (band & ~inside).any():
            ahead += np.median(built.true_depth[band & inside]) < np.median(built.true_depth[band & ~inside])
        brighter += built.rgb[inside].mean() > built.rgb[~inside].mean()
    assert ahead >= 36
    assert 8 <= brighter <= 32


def test_the_cache_changes_nothing_and_workers_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUALFORMER_CACHE", str(tmp_path))
    scenes = SyntheticScenes(17, seed=3, size=(32, 32))
    cached = SyntheticScenes(17, seed=3, size=(32, 32))
    cached.arrays = render(scenes, workers=2)
    assert len(cached) == 17
    for index in (0, 7, 16):
        plain, kept = scenes[index], cached[index]
        assert np.array_equal(plain.rgb, kept.rgb)
        assert plain.mask is not None
        assert kept.mask is not None
        assert np.array_equal(plain.mask, kept.mask)
        assert np.array_equal(plain.depth, kept.depth)
        assert plain.name == kept.name
    one = render(scenes, workers=1, root=tmp_path / "other")
    for name, value in cached.arrays.items():
        assert np.array_equal(value, one[name])
    with pytest.raises(IndexError):
        cached[17]


def test_refuses_nothing_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="expected 1 … "):
        SyntheticScenes(0)
    with pytest.raises(DataError, match="MiB free, expected"):
        render(SyntheticScenes(10**8, size=(320, 320)), root=tmp_path)


def test_data_never_imports_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mutualformer.runtime.sources import opening\n"
        "import mutualformer.train.evaluation.maps\n"
        "print(opening.frames('synthetic:1', size=(32, 32))[0].rgb.shape)"
    )
    actual = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert actual.stdout.strip() == "(32, 32, 3)", actual.stderr


@pytest.mark.parametrize(
    ("kind", "half", "expected"),
    [(SPHERE, (1, 1, 2), 3.0), (BOX, (1, 1, 0.5), 4.5), (CYLINDER, (1, 1, 1.5), 3.5)],
)
def test_a_ray_through_the_middle_hits_where_it_should(
    kind: int, half: tuple[float, float, float], expected: float
) -> None:
    solid = Solid(kind, np.array([0, 0, 5], np.float32), np.array(half, np.float32), 0)
    with np.errstate(all="ignore"):
        t = intersect(solid, np.zeros((3, 1), np.float32), np.array([[0.0001], [0.0002], [1.0]], np.float32))
    assert float(t[0]) == pytest.approx(expected, abs=1e-3)


def test_camera_windows_contain_what_is_drawn() -> None:
    camera = Pinhole((60, 80), 70.0, 1.2, 0.3)
    rng = np.random.default_rng(0)
    flat = camera.rays.reshape(3, -1)
    for _ in range(60):
        solid = Solid(
            int(rng.integers(3)),
            rng.uniform((-2, 0, 0.5), (2, 2, 6)).astype(np.float32),
            rng.uniform(0.05, 0.8, 3).astype(np.float32),
            0,
            yaw(rng.uniform(0, 6)) @ along(rng.normal(size=3).astype(np.float32)),
        )
        with np.errstate(all="ignore"):
            hit = np.isfinite(intersect(solid, camera.origin[:, None], flat)).reshape(60, 80)
        window = camera.window(solid)
        inside = np.zeros_like(hit)
        if window is not None:
            inside[window] = True
        assert not (hit & ~inside).any()


def test_rotations_are_rotations() -> None:
    rng = np.random.default_rng(1)
    for direction in [*rng.normal(size=(20, 3)), (0, 1, 0), (0, -2, 0), (0, 0, 3)]:
        actual = along(np.array(direction, np.float32))
        np.testing.assert_allclose(actual.T @ actual, np.eye(3), atol=1e-5)
        assert np.linalg.det(actual) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(actual[:, 2], np.array(direction) / np.linalg.norm(direction), atol=1e-5)


def test_identities_are_seeded_and_nir_is_grey() -> None:
    rgb, nir = view(1, 0, 0, 0, (64, 64))
    again, _ = view(1, 0, 0, 0, (64, 64))
    assert np.array_equal(rgb, again)
    assert (nir == nir[..., :1]).all()
    assert not np.array_equal(rgb, view(1, 0, 1, 0, (64, 64))[0])
    source = SyntheticIdentities(3, size=(32, 32))
    assert len({source.locate(i) for i in range(len(source))}) == 3 * CAMERAS * VIEWS
