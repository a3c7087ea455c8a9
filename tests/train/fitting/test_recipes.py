"""Recipes: limited to a side, read from files and from --set, written and listed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mutualformer.train import fit, recipes
from mutualformer.train.fitting.options import configured
from mutualformer.train.fitting.recipes import limited, names, recipe
from mutualformer.train.fitting.recipes.reading import changed, to_toml


def test_stages_above_the_side_are_limited_to_it() -> None:
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


@pytest.mark.parametrize("name", names())
def test_a_recipe_written_is_the_recipe_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(recipe(name)))
    assert recipe(str(path)) == recipe(name)


def test_a_file_changes_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('like = "photo"\nsteps = 7\n[augmentation]\ncrop = 0.3\n')
    mine, photo = recipe(str(path)), recipe("photo")
    assert (mine.name, mine.steps, mine.augmentation.crop) == ("mine", 7, 0.3)
    assert dataclasses.replace(mine, name="photo", steps=photo.steps, augmentation=photo.augmentation) == photo
    assert mine.augmentation.keep == photo.augmentation.keep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 7\nlearnin_rate = 1e-3", "mine.toml: learnin_rate is unknown, expected one of name, steps"),
        ("[augmentation]\nzoom = 1", r"augmentation\.zoom is unknown, expected one of augmentation\.crop"),
        ("steps = 7.5", "steps is 7.5, expected a whole number"),
        ("batch = true", "batch is True, expected a whole number"),
        ("stages = [[0.0, 64.5]]", "expected a list of .share, side."),
        ("augmentation = 3", "augmentation is 3, expected a table"),
        ("steps = 7", "batch is missing"),
        ("steps = ", "is not TOML"),
        ('like = "unheard-of"', "like is 'unheard-of', expected one of default"),
    ],
)
def test_a_recipe_that_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        recipe(str(tmp_path / "mine.toml"))


def test_set_reaches_every_key_of_a_recipe(tmp_path: Path) -> None:
    words = ["sod-nano", "--data", "synthetic:4", "--out", str(tmp_path), "--set", "fusion=concat"]
    words += ["--set", "recipe.learning_rate=3e-4", "--set", "recipe.augmentation.crop=0.2"]
    config = configured(fit.parser().parse_args(words), tmp_path)
    assert config.overrides == {"fusion": "concat"}
    assert config.recipe == changed(recipe("default"), [("learning_rate", 3e-4), ("augmentation", {"crop": 0.2})])
    assert config.recipe.augmentation.flip == recipe("default").augmentation.flip
    with pytest.raises(ValueError, match=r"recipe\.rate is unknown"):
        configured(fit.parser().parse_args([*words, "--set", "recipe.rate=1"]), tmp_path)


def test_the_verb_lists_recipes_and_prints_one_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes.main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == names()
    assert recipes.main(["finetune"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert recipe(str(tmp_path / "mine.toml")) == recipe("finetune")
    assert recipes.main(["unheard-of"]) == 1
    assert "expected one of default" in capsys.readouterr().err
