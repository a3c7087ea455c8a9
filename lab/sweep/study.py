"""``python -m lab.sweep``: open the model, calibrate once, quantise every layer alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from lab.sweep import sweep
from lab.sweep.trial import open_trial
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.convert import calibration_feeds
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.runtime.contract import Contract


def open_fp32(path: Path) -> tuple[onnx.ModelProto, Contract]:
    """The FP32 graph of a checkpoint or an .onnx file. Raises ExportError for one that is quantised already."""
    if path.suffix == ".safetensors":
        from mutualformer.export.graph.from_checkpoint import export_onnx
        from mutualformer.train import checkpoint

        with tempfile.TemporaryDirectory(prefix="mutualformer-") as folder:
            export_onnx(checkpoint.load(path), Path(folder) / "fp32.onnx")
            return read_onnx(Path(folder) / "fp32.onnx")
    model, contract = read_onnx(path)
    if contract.precision != "fp32":
        raise ExportError(f"{path}: the graph is {contract.precision}; layers are quantised from an fp32 file")
    return model, contract


def study(file: Path, calibration: str | None, data: Sequence[str], out: Path, frames: int = 8) -> dict[str, Any]:
    """Sweep over the layers of ``file``, judged on ``frames`` frames of ``data``; returns what sweep.json holds.

    ``calibration``: other frames than ``data``, None = the default ones. Raises ExportError, DataError.
    """
    model, contract = open_fp32(file)
    feeds, calibrated_on = calibration_feeds(calibration, contract)
    quantizer = Quantizer.measure(model, feeds)
    trial = open_trial(model, contract, data, frames)
    about = {
        "file": file.name,
        "model": contract.model,
        "weights_sha256": contract.weights_sha256,
        "calibration": calibrated_on,
        "data": ", ".join(data),
        "frames": len(trial.feeds),
    }
    return sweep.run(quantizer, trial, about, out)
