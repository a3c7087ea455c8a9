"""Identities that last and distances that are steady, without hiding an obstacle that comes near."""

from __future__ import annotations

import numpy as np
import pytest

from mutualformer.runtime.images.objects import SalientObject
from mutualformer.runtime.streaming.tracking import TIMEOUT, Tracker


def thing(x: float, y: float = 0.4, metres: float | None = 2.0) -> SalientObject:
    """An object a fifth of the picture wide."""
    return SalientObject((x, y, x + 0.2, y + 0.2), 0.04, 0.9, metres, metres)


def test_objects_keep_their_numbers_while_they_move_and_change_places() -> None:
    tracker = Tracker()
    for step in range(20):
        left, right = thing(0.1 + 0.01 * step), thing(0.6 - 0.01 * step, y=0.1)
        order = [left, right] if step % 2 else [right, left]
        seen = {one.box[1]: one.identity for one in tracker.follow(order)}
        assert seen == {0.4: 1, 0.1: 0}


def test_a_new_object_gets_a_new_number_and_a_lost_one_keeps_it_for_a_while() -> None:
    tracker = Tracker()
    assert [one.identity for one in tracker.follow([thing(0.1)])] == [0]
    assert [one.identity for one in tracker.follow([thing(0.1), thing(0.7)])] == [0, 1]
    for _ in range(TIMEOUT):
        assert tracker.follow([]) == ()
    assert [one.identity for one in tracker.follow([thing(0.7)])] == [1]
    for _ in range(TIMEOUT + 1):
        tracker.follow([])
    assert [one.identity for one in tracker.follow([thing(0.7)])] == [2]


def test_noise_is_smoothed_and_a_leap_is_told_at_once() -> None:
    tracker, rng = Tracker(), np.random.default_rng(0)
    noisy = rng.normal(2.0, 0.04, 200)
    told = [tracker.follow([thing(0.4, metres=float(value))])[0].distance_m or 0.0 for value in noisy]
    assert np.std(told[20:]) < 0.6 * np.std(noisy)
    assert np.mean(told[20:]) == pytest.approx(2.0, rel=0.01)
    assert tracker.follow([thing(0.4, metres=1.0)])[0].distance_m == 1.0
    assert tracker.follow([thing(0.4, metres=None)])[0].distance_m is None, "no old distance for what is not measured"
