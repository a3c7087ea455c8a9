"""A PyTorch module in memory behind the runtime's Session interface: what is scored the moment it is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import Session


def open_model(path: str) -> Session:
    """A model file of any format as a session. Raises CheckpointError, ModelFileError."""
    from mutualformer.runtime import session

    if not path.endswith(".safetensors"):
        return session.load(path)
    from mutualformer.train import checkpoint

    model = checkpoint.load(path)
    opened = ModuleSession(model)
    opened.contract = dataclasses.replace(opened.contract, weights_sha256=str(model.weights_sha256), card=model.card)
    return opened


class ModuleSession(Session):
    """``model``: built by :mod:`mutualformer.train.registry`; it is put into eval mode and runs where it lies."""

    def __init__(self, model: nn.Module) -> None:
        spec = model.spec
        self._model = model.eval()
        self.device = next(model.parameters()).device.type
        self.contract = Contract(
            spec.task, spec.name, tuple(spec.input_size), depth_range_m=tuple(spec.depth_range_m), labels=spec.labels
        )

    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        ordered = [torch.from_numpy(inputs[spec.name]).to(self.device) for spec in self.contract.inputs]
        with torch.inference_mode():
            answer = self._model(*ordered)
        return {self.contract.outputs[0].name: np.asarray(answer.float().cpu().numpy(), dtype=np.float32)}

    def describe(self) -> dict[str, Any]:
        """For reports."""
        threads = torch.get_num_threads()
        return {"backend": f"torch {torch.__version__}", "device": self.device, "threads": threads, "precision": "fp32"}
