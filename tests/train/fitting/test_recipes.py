"""Recipes cut to a side, from the command line to the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mutualformer.train import fit
from mutualformer.train.fitting.options import configured
from mutualformer.train.fitting.recipes import limited, recipe


def test_stages_above_the_side_are_trained_at_it() -> None:
    photo = recipe("photo")
    first, second, third = (stage[0] for stage in photo.stages)
    assert photo.stages == ((first, 256), (second, 320), (third, 288, 352))
    assert limited(photo, 320).stages == ((first, 256), (second, 320), (third, 288, 320))
    assert limited(photo, 288).stages == ((first, 256), (second, 288))
    assert limited(photo, 192).stages == ((0.0, 192),)
    assert limited(photo, 512) == photo
    assert dataclasses.replace(limited(photo, 192), stages=photo.stages) == photo  # nothing else changes
    assert limited(recipe("f3net"), 256).stages == ((0.0, 224, 256),)
    for side in (0, -32, 100):
        with pytest.raises(ValueError, match=f"--side is {side}, expected a multiple of 32"):
            limited(photo, side)


def test_the_side_is_the_input_of_the_model_too(tmp_path: Path) -> None:
    words = ["sod-lite", "--data", f"photo:{tmp_path}", "--recipe", "photo", "--out", str(tmp_path), "--side", "192"]
    config = configured(fit.parser().parse_args(words), tmp_path)
    assert config.overrides == {"input_size": [192, 192], "pretrained": True}
    assert config.recipe.stages == ((0.0, 192),)
    config = configured(fit.parser().parse_args([*words, "--set", "input_size=[256,256]"]), tmp_path)
    assert config.overrides["input_size"] == [256, 256]
    assert "input_size" not in configured(fit.parser().parse_args(words[:-2]), tmp_path).overrides
