"""A trained model is not lost to a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mutualformer.train import checkpoint, registry
from mutualformer.train.fitting import training


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
