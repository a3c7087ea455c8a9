"""A whole run on photographs: validated on the way, the best weights kept, files and seeds in the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lab.photographs.__main__ import main
from lab.photographs.best import BEST
from mutualformer.runtime.sources.frame import Frames
from mutualformer.train import checkpoint, registry
from mutualformer.train.fitting import validation
from tests.train.support.scenes import write_rgbd

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, folders in (("duts_tr", ("RGB", "x", "GT")), ("duts_te", ("RGB", "x", "GT"))):
        write_rgbd(tmp_path / "photo" / name, count=3, folders=folders, size=(96, 128))
    return tmp_path / "photo"


@pytest.mark.full
def test_the_best_validation_is_what_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([0.6, 0.7, 0.5])
    whole = validation.Validation.validate

    def scored(model: nn.Module, frames: Frames) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
        rows = [np.zeros((8, 24, 3), np.uint8)]
        return {"s_measure": current[0], "max_f": 0.1, "max_e": 0.1, "mae": 0.5, "images": len(frames)}, rows

    current = [0.0]

    def validate(self: validation.Validation, model: nn.Module, step: int, board: object = None) -> dict[str, Any]:
        current[0] = next(scores)
        return whole(self, model, step, board)

    monkeypatch.setattr(validation, "scored", scored)
    monkeypatch.setattr(validation.Validation, "validate", validate)
    words = ["fit", "sod-nano", "--data", f"photo:{root}?rendered=0", "--recipe", "photo", "--no-pretrained"]
    words += ["--out", str(tmp_path / "out"), "--steps", "3", "--batch", "2", "--minutes", "0", "--workers", "0"]
    words += ["--set", "input_size=[32,32]", "--validate-every", "1"]
    assert main(words) == 0
    card = checkpoint.read_card(tmp_path / "out" / "model.safetensors")
    assert card["data"]["kept"] == "the best of its validations: step 2, mean S-measure 0.7000"
    assert card["data"]["samples"] == 3
    assert len(card["data"]["files_sha256"]) == 64
    assert card["metrics"]["sets"]["photographs"]["s_measure"] == 0.7
    best = checkpoint.load(tmp_path / "out" / BEST).state_dict()
    kept = checkpoint.load(tmp_path / "out" / "model.safetensors").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in best.items())
    lines = (tmp_path / "out" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert json.loads(capsys.readouterr().out)["metrics"]["sets"]


def test_photo_is_for_training_only(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "sod-nano", "--out", str(tmp_path / "out"), "--steps", "1"]
    for data, message in (
        (f"photo:{root}?rendered=x", "expected a number of scenes"),
        (f"photo:{root}?seed=3", "unknown option seed"),
        (f"synthetic:4+photo:{root}", "photo: is for `python -m lab.photographs fit` by itself"),
    ):
        assert main([*words, "--data", data, "--validate", "none"]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.full
def test_with_init_the_teacher_only_teaches(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second cycle goes on from its own weights; the colour stream is not narrowed from the teacher's again."""
    start = tmp_path / "start.safetensors"
    torch.manual_seed(5)
    model = registry.build("sod-nano", input_size=(64, 64))
    checkpoint.save(start, model, {})
    words = [
        "fit",
        "sod-nano",
        "--data",
        f"photo:{root}?rendered=0&distil=sod-lite",
        "--recipe",
        "taught",
        "--init",
        str(start),
    ]
    words += ["--init", str(start), "--steps", "1", "--batch", "2", "--workers", "0", "--validate", "none"]
    words += ["--set", "input_size=[64,64]", "--validate-every", "0", "--out", str(tmp_path / "out")]
    with caplog.at_level("WARNING", logger="mutualformer"):
        assert main(words) == 0
    assert "narrowed" not in caplog.text
    total = len(model.state_dict())
    assert f"{total} of {total} tensors from {start}" in caplog.text
    stem = "rgb_backbone.conv_stem.weight"  # frozen: what it began with is what is left
    card = checkpoint.read_card(tmp_path / "out" / "model.safetensors")
    assert [(one["role"], one["given"]) for one in card["parents"][:2]] == [
        ("fine-tuned from", str(start)),
        ("taught by", "sod-lite"),
    ]
    kept = checkpoint.load(tmp_path / "out" / "model.safetensors").state_dict()[stem]
    assert torch.equal(kept, model.state_dict()[stem])
