"""Frames trained on are known again under another name; others are not, and what is unknown is not guessed."""

from __future__ import annotations

import shutil
from pathlib import Path

from mutualformer.runtime.sources import opening
from mutualformer.train.evaluation.seen import prints, trained_on
from mutualformer.train.fitting.preparation.ready import split_off
from tests.train.support.scenes import write_rgbd


def test_copies_under_other_names_are_known_and_new_frames_are_not(tmp_path: Path) -> None:
    folder = write_rgbd(tmp_path / "mine", count=12, size=(50, 70))
    frames = opening.frames(str(folder))
    rest, held_out = split_off(frames)
    card = {"prints": prints(rest)}
    assert trained_on(card, rest) == len(rest)
    assert trained_on(card, held_out) == 0
    assert trained_on(card, frames) == len(rest)
    shutil.copytree(folder, tmp_path / "copy")
    for path in sorted((tmp_path / "copy").rglob("*.*"), reverse=True):
        path.rename(path.with_name(f"again-{path.name}"))
    assert trained_on(card, opening.frames(str(tmp_path / "copy"))) == len(rest)


def test_a_parents_frames_count_too_and_strangers_cards_do_no_harm(tmp_path: Path) -> None:
    scenes = opening.frames("synthetic:6?seed=3")
    assert trained_on({"parents": [{"prints": prints(scenes)}]}, opening.frames("synthetic:4?seed=3")) == 4
    assert trained_on({"prints": prints(scenes)}, opening.frames("synthetic:6?seed=4")) == 0
    for card in ({}, {"prints": 7}, {"parents": 7}, {"parents": [7, {"prints": None}]}):
        assert trained_on(card, scenes) == 0
