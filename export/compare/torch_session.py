"""A PyTorch checkpoint behind the runtime's Session interface, so that parity can compare any two model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from mutualformer.export.to_onnx import contract_of
from mutualformer.runtime.session import Session, existing_file
from mutualformer.train.checkpoint import load
from mutualformer.train.evaluate import torch_predictor


class TorchSession(Session):
    """``X.safetensors`` in PyTorch on the CPU, full precision: the reference of references."""

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path, "checkpoint")
        model = load(path)
        self.contract = contract_of(model)
        _, self._predict = torch_predictor(model)
        self.device = "cpu"

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        ordered = {spec.name: inputs[spec.name] for spec in self.contract.inputs}
        return {self.contract.outputs[0].name: self._predict(ordered)}

    def describe(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "sha256": self.contract.weights_sha256,
            "backend": f"torch {torch.__version__}",
            "device": self.device,
            "threads": torch.get_num_threads(),
            "precision": self.contract.precision,
        }
