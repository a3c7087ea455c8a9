"""Fixtures shared by all stages: one small model, exported once per test run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

NANO_SIZE = (64, 96)  # divisible by 32, not square, small enough for seconds


@dataclass(frozen=True)
class ModelFiles:
    """Paths of one model in two formats."""

    checkpoint: Path
    onnx: Path


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """``sod-nano`` with seeded random weights at 64 × 96, as a checkpoint and as ONNX."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from export.to_onnx import export_onnx
    from train import checkpoint
    from train.registry import build

    folder = tmp_path_factory.mktemp("nano")
    torch.manual_seed(0)
    model = build("sod-nano", input_size=NANO_SIZE)
    # Random weights give almost constant maps; larger BatchNorm scales make a map whose differences show.
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    checkpoint.save(folder / "model.safetensors", model, {"data": "none", "recipe": "random"})
    export_onnx(checkpoint.load(folder / "model.safetensors"), folder / "model.onnx")
    return ModelFiles(folder / "model.safetensors", folder / "model.onnx")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder with the real RGB-D pair."""
    folder = os.environ.get("MUTUALFORMER_SAMPLES")
    if not folder or not (Path(folder) / "motorcycle" / "rgb.png").is_file():
        pytest.skip("MUTUALFORMER_SAMPLES does not name a folder with motorcycle/rgb.png")
    return Path(folder)
