"""Finds or makes the ONNX file that an engine is built from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import existing_file


def onnx_source(
    source: Path,
    folder: Path,
    stem: str,
    flavor: str,
    precision: str | None,
    calibration: str | None,
    check: Callable[[Contract], None],
) -> Path:
    """The ONNX file to build an engine from: ``source``, or one made of it in ``folder`` and named after ``stem``.

    ``precision`` None: that of the file; on TensorRT-RTX FP16 for an FP32 file or a checkpoint, because its GPUs
    compute nothing faster and the loss is negligible (docs/quantization.md). ``check`` gets the contract, to raise
    before another file is made. Raises ExportError, DataError.
    """
    from mutualformer.export.precision.convert import write_onnx

    existing_file(source, "ONNX file" if source.suffix == ".onnx" else "checkpoint or ONNX file")
    held = read_onnx(source)[1].precision if source.suffix == ".onnx" else "fp32"
    target = precision or ("fp16" if flavor == "rtx" and held == "fp32" else held)
    if source.suffix == ".onnx" and target == held:
        if calibration:
            raise ExportError(f"--calibration {calibration} has no use: {source} is {held} already")
        return source
    name = f"{stem}.{target}.onnx" if source.suffix == ".onnx" else f"{stem}.onnx"
    return write_onnx(source, folder / name, target, calibration, check=check).path
