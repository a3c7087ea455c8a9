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
    from export.trace import example_inputs
    from runtime.contract import Contract
    from train import checkpoint
    from train.registry import build

    folder = tmp_path_factory.mktemp("nano")
    torch.manual_seed(0)
    model = build("sod-nano", input_size=NANO_SIZE)
    # Random weights with BatchNorm statistics of nothing give a constant map, which agrees with anything: let the
    # statistics see a few frames.
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    contract = Contract(model.spec.task, "sod-nano", NANO_SIZE)
    with torch.no_grad():
        for seed in range(4):
            model(*example_inputs(contract, 4, seed).values())
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
