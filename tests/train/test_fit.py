"""Training as a function: seeds, plans, recipes at a small size, and what the card says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mutualformer.train import checkpoint, fit
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting import training
from mutualformer.train.fitting.config import FitError
from mutualformer.train.fitting.recipes import recipe
from tests.train.support.runs import DATA, HELD_OUT, tiny


def same(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sod", "reid"])
def test_a_seed_is_a_model(tmp_path: Path, task: str) -> None:
    cv2.setNumThreads(2)  # threads that a forked worker must not wait for
    cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (0, 0), 5)
    first = training.fit(tiny(task, tmp_path / "a", steps=2))
    torch.manual_seed(99)  # whatever was drawn before must not matter
    again = training.fit(tiny(task, tmp_path / "b", steps=2, workers=2))  # nor how many prepare the batches
    other = training.fit(tiny(task, tmp_path / "c", steps=2, seed=1))
    assert same(first, again)
    assert not same(first, other)


def test_a_run_is_resumed_only_as_it_was_begun(tmp_path: Path) -> None:
    config = tiny("sod", tmp_path, steps=2, save_every=1)
    training.fit(config)
    changed = dataclasses.replace(config, resume=True, seed=4, recipe=dataclasses.replace(config.recipe, batch=4))
    with pytest.raises(FitError, match=r"begun with recipe\.batch = 8, now 4; seed = 0, now 4"):
        training.fit(changed)
    (tmp_path / plan.NAME).write_text("[")
    with pytest.raises(ValueError, match="is not a plan"):
        training.fit(dataclasses.replace(config, resume=True))
    with pytest.raises(FitError, match="nothing to resume from"):
        training.fit(dataclasses.replace(config, out=tmp_path / "new", resume=True))


@pytest.mark.slow
def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    config = tiny("sod", tmp_path, steps=2)
    training.fit(config)
    assert recipe(str(tmp_path / plan.RECIPE)) == config.recipe
    longer = dataclasses.replace(config.recipe, steps=4, plateau=0.5)
    path = training.fit(dataclasses.replace(config, resume=True, recipe=longer))
    card = checkpoint.read_card(path)
    assert (card["recipe"]["resumed_at_step"], card["recipe"]["steps_done"]) == (2, 4)
    assert recipe(str(tmp_path / plan.RECIPE)) == longer


@pytest.mark.slow
def test_a_pulled_run_forgets_less_and_keeps_its_norms(tmp_path: Path) -> None:
    first = training.fit(tiny("sod", tmp_path / "first", steps=2))
    start = load_file(first)

    def moved(name: str, **changes: Any) -> dict[str, float]:
        config = tiny("sod", tmp_path / name, steps=3, init=str(first), seed=5)
        path = training.fit(dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, **changes)))
        return {key: float((value.double() - start[key].double()).norm()) for key, value in load_file(path).items()}

    def learnt(distances: dict[str, float]) -> float:
        return sum(value for key, value in distances.items() if key.endswith("weight"))

    free, kept, pulled = moved("free"), moved("kept", keep_norms=True), moved("pulled", keep_norms=True, pull=400.0)
    means = [key for key in start if key.endswith("running_mean")]
    assert any(free[key] for key in means)
    assert not any(kept[key] for key in means)
    assert 0 < learnt(pulled) < 0.9 * learnt(kept)


@pytest.mark.parametrize(("task", "over"), [("sod", "images"), ("reid", "identities")])
def test_the_card_is_complete_and_readable(tmp_path: Path, task: str, over: str) -> None:
    path = training.fit(tiny(task, tmp_path, steps=1, validate=HELD_OUT[task]))
    card = checkpoint.read_card(path)
    assert card["data"]["train"] == DATA[task]
    assert card["data"]["samples"] == {"sod": 16, "reid": 48}[task]
    assert card["recipe"]["steps_done"] == 1
    assert card["metrics"]["standard_error"]["over"] == over
    assert "rendered" in card["limits"]
    page = path.with_suffix(".md").read_text()
    for heading in ("Training data", "Recipe", "Metrics", "Limits"):
        assert f"## {heading}\n" in page
    name = {"sod": "S-measure", "reid": "mAP"}[task]
    value = card["metrics"][{"sod": "s_measure", "reid": "map"}[task]]
    error = card["metrics"]["standard_error"][{"sod": "s_measure", "reid": "map"}[task]]
    assert f"| {name} |" in page
    assert f"| {value:.3f} (±{error:.3f}) |" in page
    assert str(card["weights_sha256"]) in page


@pytest.mark.slow
@pytest.mark.full
def test_the_f3net_recipe_runs_on_sod_r18(tmp_path: Path) -> None:
    """As it is but for steps, batch and sizes: SGD, two rates, rising sizes, mixed precision, all augmentation."""
    full = recipe("f3net")
    assert full.optimizer == "sgd"
    assert full.backbone_lr == pytest.approx(0.1)
    short = dataclasses.replace(full, steps=3, batch=2)
    config = tiny("sod", tmp_path, overrides={"input_size": [64, 64]}, precision="bf16-mixed", save_every=3)
    path = training.fit(dataclasses.replace(config, model="sod-r18", recipe=short))
    model = checkpoint.load(path)
    assert model.spec.name == "sod-r18"
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert sorted({group["peak"] for group in state["param_groups"]}) == pytest.approx([0.005, 0.05])
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.0, 5e-4}
    assert {group["momentum"] for group in state["param_groups"]} == {0.9}


def test_pretrained_that_cannot_be_had_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import timm

    def unreachable(*_: object, **options: object) -> NoReturn:
        raise OSError("no route to host") if options.get("pretrained") else AssertionError("built without asking")

    build = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: unreachable(*a, **k) if k.get("pretrained") else build(*a, **k)
    )
    arguments = ["sod-r18", "--data", DATA["sod"], "--out", str(tmp_path), "--set", "pretrained=true", "--steps", "1"]
    assert fit.main([*arguments, "--set", "input_size=[32,32]", "--validate", "none"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "resnet18" in message
    assert "train from scratch with pretrained=False" in message


def test_the_command_line_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sod-nano", "--data", DATA["sod"], "--out", str(tmp_path), "--steps", "1", "--batch", "2"]
    arguments += ["--minutes", "0", "--set", "input_size=[32,32]", "--workers", "0", "--validate", HELD_OUT["sod"]]
    assert fit.main(arguments) == 0
    out = capsys.readouterr().out  # Lightning's progress bar goes to standard output too
    printed = json.loads(out[out.index('{\n  "checkpoint"') :])
    assert printed["metrics"]["data"] == HELD_OUT["sod"]
    assert {p.name for p in tmp_path.iterdir()} >= {"model.safetensors", "model.json", "model.md", "plan.json"}
    assert fit.main([*arguments, "--set", "fusion"]) == 1
    assert "expected option=value" in capsys.readouterr().err
