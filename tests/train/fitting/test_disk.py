"""A full disk is reported before the first step, and a trained model is not lost to one."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from mutualformer.train import checkpoint, registry
from mutualformer.train.fitting import training
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.recipes import recipe

Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.build("sod-nano", pretrained=False)
    config = FitConfig("sod-nano", "synthetic:8", tmp_path, recipe("demo"))
    training._refuse_full_disk(config, model)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(1, 1, 20 << 20))
    with pytest.raises(FitError, match=r"has 21 MB free, this run may write .* make room"):
        training._refuse_full_disk(config, model)


def test_a_trained_model_goes_elsewhere_when_its_place_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = checkpoint.save

    def full(path: Path, *rest: Any) -> Path:
        if path.is_relative_to(tmp_path / "out"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, *rest)

    monkeypatch.setattr(checkpoint, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = training._save(tmp_path / "out/model.safetensors", registry.build("sod-nano", pretrained=False), {})
    assert checkpoint.read_card(path)["model"] == "sod-nano"
    assert not path.is_relative_to(tmp_path / "out")
    assert f"the model goes to {path}" in caplog.text
