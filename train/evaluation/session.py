"""PyTorch models behind the runtime's Session interface: a module in memory, a checkpoint like any model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import ModelFileError, Session, existing_file
from mutualformer.train.checkpoint import load
from mutualformer.train.mutualformer import CrossDiffusionAttention
from mutualformer.train.registry import spec_of


def contract_of(model: nn.Module) -> Contract:
    """The contract of a model loaded by :func:`mutualformer.train.checkpoint.load`, card and all."""
    card: dict[str, Any] = model.card  # type: ignore[assignment]  # put there by checkpoint.load
    told: dict[str, Any] = {
        key: card[key] for key in ("task", "model", "input_size", "depth_range_m", "labels") if key in card
    }
    nodes = sum(isinstance(module, CrossDiffusionAttention) for module in model.modules())
    made = {"git_revision": card.get("git_revision", "unknown"), "weights_sha256": str(model.weights_sha256)}
    return Contract.from_json({**told, **made, "card": card, "cda_nodes": nodes})


class ModuleSession(Session):
    """``model``: built by :mod:`mutualformer.train.registry`; it is put into eval mode and runs where it lies."""

    def __init__(self, model: nn.Module) -> None:
        spec = spec_of(model)
        self._model = model.eval()
        self.device = next(model.parameters()).device.type
        self.contract = Contract(
            spec.task, spec.name, spec.input_size, depth_range_m=spec.depth_range_m, labels=spec.labels
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


class CheckpointSession(ModuleSession):
    """``X.safetensors`` in PyTorch, full precision: the reference of references.

    Raises CheckpointError, ModelFileError where ``device`` is a GPU and there is none.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int = 0) -> None:
        self.path = existing_file(path, "checkpoint")
        on_gpu = device.startswith("cuda")
        if on_gpu and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
            raise ModelFileError(f"{path}: device is {device}, but PyTorch sees no such GPU; use --device cpu")
        # "auto" stays on the CPU: as a reference it must give the same answer wherever there happens to be a GPU.
        model = load(path)
        super().__init__(model.to(device if on_gpu else "cpu"))
        self.contract = contract_of(model)
        if threads:
            torch.set_num_threads(threads)

    def describe(self) -> dict[str, Any]:
        """As Session.describe, with the checkpoint's file and sha256."""
        return {"file": self.path.name, "sha256": self.contract.weights_sha256, **super().describe()}
