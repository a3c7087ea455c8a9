"""Load a model file and run it: one interface for ONNX Runtime, TensorRT and PyTorch.

session = load("model.onnx")            # or model.engine, model.safetensors
result = session.run(rgb=rgb, depth=depth)["saliency"]

In reading order: base (the interface), onnxruntime, onnx_file (checks before ONNX Runtime opens a file), tensorrt,
engine_card, buffers (one call in flight), cuda (driver calls), gpu (finds one), rtx_cache, threads (how many).
"""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from pathlib import Path
from typing import Any

from mutualformer.extras import missing
from mutualformer.runtime.session.base import Device as Device
from mutualformer.runtime.session.base import ModelFileError as ModelFileError
from mutualformer.runtime.session.base import ModelOutputError as ModelOutputError
from mutualformer.runtime.session.base import Session as Session
from mutualformer.runtime.session.base import existing_file as existing_file

DEVICES = ("auto", "cpu", "cuda")

# File ending → module, and what in it opens such a file. Imported when such a file is opened.
BACKENDS = {
    ".onnx": ("mutualformer.runtime.session.onnxruntime", "OnnxSession"),
    ".engine": ("mutualformer.runtime.session.tensorrt", "EngineSession.open"),
    ".safetensors": ("mutualformer.train.evaluation.session", "CheckpointSession"),
}


def load(path: str | Path, device: Device = "auto", threads: int = 0, sha256: str = "") -> Session:
    """Load ``.onnx`` (ONNX Runtime), ``.engine`` (TensorRT or TensorRT-RTX) or ``.safetensors`` (PyTorch).

    ``device``: "auto" takes a GPU where the backend has one; "cpu", "cuda" and "cuda:1" insist; for ONNX files also a
    list of ONNX Runtime's execution providers, in order. ``threads``: CPU threads, 0 = all this process may use;
    engines use none. ``sha256``: the expected hash of a trusted ONNX file's bytes; without it the file is untrusted,
    and this process's memory is limited. Raises ModelFileError; an engine is loaded only after its hash was checked.
    """
    if isinstance(device, str) and not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", device):
        raise ModelFileError(
            f"device is {device!r}, expected one of {', '.join(DEVICES)}, cuda:1 or a list of providers"
        )
    file = existing_file(path)
    if not isinstance(device, str) and file.suffix != ".onnx":
        raise ModelFileError(f"{file}: providers are ONNX Runtime's, for .onnx files; give device='cuda' or 'cpu'")
    if file.suffix not in BACKENDS:
        raise ModelFileError(f"{file}: the file ends in {file.suffix!r}, expected one of {', '.join(BACKENDS)}")
    module, name = BACKENDS[file.suffix]
    try:
        backend: Any = attrgetter(name)(importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise ModelFileError(f"{file}: cannot be opened: {missing(error.name or module)}") from error
    expected = {"sha256": sha256} if sha256 else {}
    session: Session = backend(file, device=device, threads=threads, **expected)
    return session
