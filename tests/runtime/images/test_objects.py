"""Objects: one entry for each thing in space, at the distance where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutualformer.runtime.images.objects import find_objects, nearest_object_m


def room(holes: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three objects at 1.33, 1.36 and 2.81 m before a wall at 4 m; the first and the last touch in the picture."""
    saliency, depth = np.zeros((120, 160), np.float32), np.full((240, 320), 4.0, np.float32)
    for rows, columns, metres in (
        (slice(20, 60), slice(20, 50), 1.33),
        (slice(30, 90), slice(50, 80), 2.81),
        (slice(60, 100), slice(110, 140), 1.36),
    ):
        saliency[rows, columns] = 0.9
        depth[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop] = metres
    rng = np.random.default_rng(0)
    depth += rng.normal(0, 0.004, depth.shape).astype(np.float32) * depth
    depth[rng.random(depth.shape) < holes] = 0
    return saliency, depth


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_each_object_has_its_own_distance(holes: float) -> None:
    saliency, depth = room(holes)
    objects, labels = find_objects(saliency, depth)
    assert [one.distance_m for one in objects] == [pytest.approx(true, rel=0.02) for true in (1.33, 1.36, 2.81)]
    assert all((one.nearest_m or 9) <= (one.distance_m or 0) for one in objects)
    assert nearest_object_m(objects) == objects[0].distance_m
    assert objects[0].box == pytest.approx((20 / 160, 20 / 120, 50 / 160, 60 / 120), abs=0.02)
    assert [one.area for one in objects] == [pytest.approx((labels == k + 1).mean()) for k in range(3)]
    assert all(one.score == pytest.approx(0.9) for one in objects)


def test_what_touches_in_the_picture_is_one_where_nothing_tells_otherwise() -> None:
    saliency, _ = room()
    objects, _ = find_objects(saliency, None)
    assert len(objects) == 2
    assert nearest_object_m(objects) is None
    assert objects[0].area > objects[1].area, "without distances the largest is first"


def test_a_shadow_of_holes_between_them_joins_nothing() -> None:
    saliency, depth = room()
    depth[:, 94:104] = 0  # what a stereo camera does not see beside a near object
    objects, _ = find_objects(saliency, depth)
    assert sorted(round(one.distance_m or 0, 1) for one in objects) == [1.3, 1.4, 2.8]


def test_a_slanted_surface_is_one_object() -> None:
    saliency = np.zeros((120, 160), np.float32)
    saliency[20:100, 20:140] = 1
    depth = np.tile(np.linspace(1, 3, 160, dtype=np.float32), (120, 1))
    objects, _ = find_objects(saliency, depth)
    assert len(objects) == 1


def test_specks_are_no_objects_and_a_fragment_is_no_part() -> None:
    saliency, depth = np.zeros((120, 160), np.float32), np.full((120, 160), 2.0, np.float32)
    saliency[20:100, 20:140] = 1
    saliency[110:112, 150:152] = 1
    depth[50:54, 60:64] = 1.0  # a wrong patch, 0.2 % of the object
    objects, labels = find_objects(saliency, depth)
    assert len(objects) == 1
    assert objects[0].distance_m == 2.0
    assert not labels[110:].any()


def test_a_large_picture_gives_the_boxes_of_its_own_pixels() -> None:
    salient = np.zeros((2000, 3000), bool)
    salient[301:1203, 505:1711] = True
    objects, labels = find_objects(np.ones((32, 32), np.float32), None, salient=salient)
    assert objects[0].pixels(2000, 3000) == (505, 301, 1711, 1203)
    assert np.array_equal(labels > 0, salient)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 999))
def test_any_map_and_depth(height: int, width: int, measured: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.random((height, width), np.float32)
    depth = rng.uniform(0, 5, (height + 3, width + 1)).astype(np.float32) * rng.integers(0, 2)
    objects, labels = find_objects(saliency, depth if measured else None)
    assert set(np.unique(labels)) <= set(range(len(objects) + 1))
    assert not labels[saliency <= 0.5].any()
    for number, one in enumerate(objects, start=1):
        rows, columns = np.nonzero(labels == number)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.pixels(height, width) == edges
