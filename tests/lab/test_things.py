"""Objects of photographs as identities: views, simulated near-infrared, whitening, contrast."""

from __future__ import annotations

import numpy as np
import pytest

from lab.things.heads import whitening
from lab.things.held_out import decision, precisions
from lab.things.infrared import reflectance, sense
from lab.things.views import Thing, thing, view
from mutualformer.runtime.sources.frame import DataError, Item

RGB = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


def one(seed: int = 0, side: int = 40) -> Thing:
    mask = np.zeros((90, 120), np.uint8)
    mask[30 : 30 + side, 40 : 40 + side] = 255
    return thing(Item(RGB, np.zeros(mask.shape, np.float32), mask, "a"), np.random.default_rng(seed))


def test_near_infrared_is_a_material_of_the_thing_and_has_no_colour() -> None:
    assert (reflectance(RGB, np.random.default_rng(1)) == reflectance(RGB, np.random.default_rng(1))).all()
    assert (reflectance(RGB, np.random.default_rng(1)) != reflectance(RGB, np.random.default_rng(2))).mean() > 0.5
    leaf, paint = (np.full((8, 8, 3), colour, np.uint8) for colour in ((40, 120, 30), (120, 40, 30)))
    bright = [reflectance(leaf, np.random.default_rng(seed)).mean() for seed in range(40)]
    assert np.mean(bright) > 1.3 * np.mean([reflectance(paint, np.random.default_rng(s)).mean() for s in range(40)])
    seen = sense(reflectance(RGB, np.random.default_rng(1)), np.random.default_rng(3))
    assert seen.shape == RGB.shape
    assert (seen == seen[..., :1]).all()


def test_views_are_the_same_for_the_same_seed_and_dark_at_night() -> None:
    others = [one(5), one(6)]
    first, again = (view(one(), others, 64, np.random.default_rng(4), 1.0) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    night = view(one(), others, 64, np.random.default_rng(4), 0.06)
    assert night[0].mean() < 0.15 * first[0].mean()
    with pytest.raises(DataError, match="smaller than"):
        one(side=10)


def test_whitening_keeps_what_tells_things_apart() -> None:
    rng = np.random.default_rng(0)
    identity = np.repeat(rng.standard_normal((400, 1)), 2, axis=0)  # in one direction of six
    features = 5 * rng.standard_normal((800, 6)) * (np.arange(6) > 0)
    features[:, :1] += identity + 0.1 * rng.standard_normal((800, 1))
    projection, mean, deviation = whitening(features, 2, 1)
    answer = features @ projection.T
    assert abs(np.corrcoef(answer[:, 0], features[:, 0])[0, 1]) > 0.95
    assert np.allclose((mean, deviation), (answer.mean(axis=0), answer.std(axis=0)))


def test_scores_and_the_threshold_of_decisions() -> None:
    eye = np.eye(40)
    average, places = precisions(eye, eye, np.arange(40), np.arange(40))
    assert (average == 1).all()
    assert (places == 0).all()
    found = decision(eye, np.concatenate([eye, eye]), np.tile(np.arange(40), 2))
    assert (found["found"], found["threshold"]) == (1.0, 0.0)
    average, places = precisions(eye[:1], eye[[1, 0]], np.array([0]), np.array([1, 0]))
    assert (average.item(), places.item()) == (1.0, 0)
