"""Checkpoints: what is written is what is read, and everything else is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mutualformer.runtime.files import sha256
from mutualformer.runtime.untrusted.seal import sealed
from mutualformer.train import checkpoint, registry
from mutualformer.train.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(1)
    model = registry.build("sod-nano", input_size=(64, 64))
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    return checkpoint.save(path, model, {"metrics": {"mae": 0.5}}), model


@pytest.fixture
def copy(saved: tuple[Path, nn.Module], tmp_path: Path) -> Path:
    for path in (saved[0], checkpoint.card_path(saved[0])):
        shutil.copy(path, tmp_path)
    return tmp_path / "model.safetensors"


@pytest.mark.slow
def test_round_trip(saved: tuple[Path, nn.Module]) -> None:
    path, model = saved
    loaded = checkpoint.load(path)
    assert not loaded.training
    assert loaded.spec == model.spec
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    card = loaded.card
    assert card["metrics"] == {"mae": 0.5}
    assert (card["model"], card["task"], card["input_size"], card["labels"]) == (
        "sod-nano",
        "sod",
        [64, 64],
        ["salient"],
    )
    assert card["params"] == sum(p.numel() for p in model.parameters())
    assert loaded.weights_sha256 == sha256(path) == card["weights_sha256"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.safetensors"]


def test_files_are_readable_by_others(saved: tuple[Path, nn.Module]) -> None:
    assert saved[0].stat().st_mode & 0o444 == 0o444


def edit(path: Path, **changes: Any) -> None:
    card = json.loads(checkpoint.card_path(path).read_text())
    checkpoint.card_path(path).write_text(json.dumps(sealed({**card, **changes})))


def test_a_model_that_changed_since_is_refused(copy: Path) -> None:
    architecture = json.loads(checkpoint.card_path(copy).read_text())["architecture"]
    edit(copy, architecture={**architecture, "num_heads": architecture["num_heads"] * 2})
    with pytest.raises(CheckpointError, match="trained with num_heads = "):
        checkpoint.load(copy)


CORRUPT: dict[str, Callable[[Path], object]] = {
    "no such file": lambda path: path.unlink(),
    "is empty": lambda path: path.write_bytes(b""),
    "cannot be read as safetensors": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "cannot be read as safetensors .*cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "card model.json is missing": lambda path: checkpoint.card_path(path).unlink(),
    "not JSON": lambda path: checkpoint.card_path(path).write_text("{"),
    "schema is 99": lambda path: edit(path, schema_version=99),
    "holds a list": lambda path: checkpoint.card_path(path).write_text("[]"),
    "not of sod-r18": lambda path: edit(path, model="sod-r18"),
    "'sod-giant' is unknown": lambda path: edit(path, model="sod-giant"),
    r"is \(32, 1, 3, 3\), expected \(48, 1, 3, 3\)": lambda path: edit(path, overrides={"decoder_width": 48}),
    "not of one training run": lambda path: edit(path, weights_sha256="0" * 64),
}


@pytest.mark.parametrize("message", CORRUPT)
def test_damage_is_told_in_one_sentence(copy: Path, message: str) -> None:
    CORRUPT[message](copy)
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load(copy)
    assert "\n" not in str(error.value)
    assert str(copy.parent) in str(error.value)


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    model = registry.build("sod-nano")
    torch.nn.init.constant_(model.token_fusion[0].start.bias, float("nan"))
    with pytest.raises(CheckpointError, match=r"tensor token_fusion\.0\.start\.bias holds NaN"):
        checkpoint.load(checkpoint.save(tmp_path / "x.safetensors", model, {}))


def test_a_failed_write_leaves_the_old_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = copy.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(copy, registry.build("sod-nano"), {})
    assert copy.read_bytes() == before
    assert sorted(p.name for p in copy.parent.iterdir()) == ["model.json", "model.safetensors"]
