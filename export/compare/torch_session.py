"""A PyTorch checkpoint behind the runtime's Session interface, so that parity can compare any two model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mutualformer.export.to_onnx import contract_of
from mutualformer.runtime.session import existing_file
from mutualformer.train.checkpoint import load
from mutualformer.train.evaluation.module import ModuleSession


class TorchSession(ModuleSession):
    """``X.safetensors`` in PyTorch on the CPU, full precision: the reference of references."""

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path, "checkpoint")
        model = load(path)
        super().__init__(model)
        self.contract = contract_of(model)

    def describe(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "sha256": self.contract.weights_sha256,
            "backend": f"torch {torch.__version__}",
            "device": self.device,
            "threads": torch.get_num_threads(),
            "precision": self.contract.precision,
        }
