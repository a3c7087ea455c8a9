"""Load a model file and run it: one interface over ONNX Runtime and TensorRT.

session = load("model.onnx")            # or model.engine
result = session.run(rgb=rgb, depth=depth)["saliency"]
"""

from __future__ import annotations

from pathlib import Path

from mutualformer.runtime.session.base import ModelFileError, ModelOutputError, Session, existing_file

__all__ = ["DEVICES", "ModelFileError", "ModelOutputError", "Session", "existing_file", "load"]

DEVICES = ("auto", "cpu", "cuda")


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
