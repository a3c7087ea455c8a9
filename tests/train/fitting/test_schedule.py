"""Progress by steps and by the clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mutualformer.train.fitting.recipes import Recipe, names, recipe
from mutualformer.train.fitting.schedule import Schedule

PLAN = Recipe("test", steps=100, batch=4, learning_rate=1.0, stages=((0.0, 64), (0.5, 128)), warmup=0.1, final=0.01)


def test_without_a_budget_progress_is_the_share_of_steps() -> None:
    schedule = Schedule(PLAN, 320, elapsed=lambda: 1e9)
    assert [schedule.progress(s) for s in (0, 25, 100, 200)] == [0, 0.25, 1, 1]
    assert [schedule.side(p) for p in (0, 0.49, 0.5, 1)] == [64, 64, 128, 128]


def test_rate_warms_up_and_anneals() -> None:
    schedule = Schedule(PLAN, 320)
    assert schedule.rate(0.05) == pytest.approx(0.5)
    assert schedule.rate(0.1) == pytest.approx(1)
    assert schedule.rate(0.55) == pytest.approx(0.505)
    assert schedule.rate(1.0) == pytest.approx(0.01)


def test_a_plateau_keeps_the_rate_before_it_falls() -> None:
    schedule = Schedule(replace(PLAN, plateau=0.6), 320)
    assert schedule.rate(0.05) == pytest.approx(0.5)
    assert {schedule.rate(p) for p in (0.1, 0.4, 0.7)} == {1.0}
    assert schedule.rate(0.85) == pytest.approx(0.505)
    assert schedule.rate(1.0) == pytest.approx(0.01)


def test_the_clock_takes_over_only_when_late_and_always_finishes() -> None:
    now = [0.0]
    schedule = Schedule(replace(PLAN, minutes=1.0), 320, elapsed=lambda: now[0])
    # Large pictures are 4 times the work: at half the steps a fifth of the time is due.
    now[0] = 60 * 0.2
    assert schedule.progress(50) == 0.5
    now[0] = 60 * 0.6
    late = schedule.progress(50)
    assert 0.5 < late < 1
    now[0] = 60 * 0.8
    assert late < schedule.progress(50) < 1
    now[0] = 60.0
    assert schedule.progress(50) == 1.0


def test_a_run_that_goes_on_has_its_budget_for_what_is_left() -> None:
    now = [0.0]
    schedule = Schedule(replace(PLAN, minutes=1.0, stages=((0.0, 64),)), 320, elapsed=lambda: now[0], start=60)
    assert schedule.progress(60) == 0.6
    now[0] = 60 * (0.05 + 0.95 / 2)
    assert schedule.progress(60) == pytest.approx(0.8)
    now[0] = 60.0
    assert schedule.progress(61) == 1.0


def test_a_stage_of_two_sides_draws_every_size_and_the_same_one_for_a_step() -> None:
    schedule = Schedule(recipe("f3net"), 320)
    sides = [schedule.side(0.3, step) for step in range(60)]
    assert set(sides) == {224, 256, 288, 320, 352}
    assert sides == [Schedule(recipe("f3net"), 320).side(0.9, step) for step in range(60)]
    assert Schedule(PLAN, 320).side(0.9, 5) == 128


@pytest.mark.parametrize("stages", [((0.1, 64),), ((0.0, 64), (0.0, 96)), ((0.0, 60),)])
def test_refuses_malformed_stages(stages: tuple[tuple[float, int], ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Schedule(replace(PLAN, stages=stages), 320)


def test_every_recipe_is_well_formed_and_unknown_ones_are_refused() -> None:
    for known in map(recipe, names()):
        schedule = Schedule(known, 320)
        assert schedule.progress(known.steps) == 1.0
    with pytest.raises(ValueError, match="expected one of default, demo"):
        recipe("quick")
