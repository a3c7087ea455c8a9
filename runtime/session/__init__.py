"""Load a model file and run it: one interface over ONNX Runtime and TensorRT.

session = load("model.onnx")            # or model.engine
result = session.run(rgb=rgb, depth=depth)["saliency"]
"""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import InputError, check

DEVICES = ("auto", "cpu", "cuda")


class ModelFileError(RuntimeError):
    """A model file cannot be used: names the file, what was found, what was expected and what to do."""


class Session(abc.ABC):
    """A loaded model.

    ``contract``: what the file promises. ``device``: where it runs. ``describe()``: backend, versions, precision and
    artifact hash, for reports and benchmarks.
    """

    contract: Contract
    device: str

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Named graph inputs, batch first (``preprocess.prepare`` makes them) → named outputs, owned by you.

        Raises InputError naming the tensor that does not fit.
        """
        specs = self.contract.inputs
        names = [spec.name for spec in specs]
        if set(inputs) != set(names):
            raise InputError(f"inputs are {', '.join(sorted(inputs)) or 'none'}, expected {', '.join(names)}")
        for spec in specs:
            check(spec, np.asarray(inputs[spec.name]))
        batches = {int(inputs[name].shape[0]) for name in names}
        if len(batches) != 1:
            raise InputError(f"inputs have batches {sorted(batches)}, expected one batch for all")
        return self._run({name: np.ascontiguousarray(inputs[name]) for name in names})

    @abc.abstractmethod
    def _run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]: ...

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Give back what the session holds; calling it twice is harmless."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def existing_file(path: str | Path, what: str = "model file") -> Path:
    """The path, or ModelFileError when it is missing or empty."""
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"{file}: no such {what}")
    if file.stat().st_size == 0:
        raise ModelFileError(f"{file}: the {what} is empty (0 bytes); make it again")
    return file


def load(path: str | Path, device: str = "auto") -> Session:
    """Load ``.onnx`` (ONNX Runtime) or ``.engine`` (TensorRT or TensorRT-RTX).

    ``device``: "auto" takes a GPU where the backend has one, "cpu" and "cuda" insist.
    Raises ModelFileError with one sentence; never starts a process-killing load of an unchecked engine.
    """
    if device not in DEVICES:
        raise ModelFileError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    file = existing_file(path)
    if file.suffix == ".onnx":
        from mutualformer.runtime.session.onnxruntime import OnnxSession

        return OnnxSession(file, device)
    if file.suffix == ".engine":
        from mutualformer.runtime.session.tensorrt import EngineSession

        return EngineSession.open(file, device)
    raise ModelFileError(f"{file}: the file ends in {file.suffix!r}, expected .onnx or .engine")
