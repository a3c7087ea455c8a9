"""What an engine is built from: an ONNX file as it is, or one made of a checkpoint or of another precision."""

from __future__ import annotations

import logging
from pathlib import Path

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.runtime.session import existing_file

log = logging.getLogger("mutualformer")

RTX_DEFAULT_PRECISION = "fp16"


def onnx_source(
    source: Path, folder: Path, stem: str, flavor: str, precision: str | None, calibration: str | None
) -> Path:
    """The ONNX file to build an engine from: ``source``, or one made of it in ``folder`` and called after ``stem``.

    ``precision`` None: that of the file; on TensorRT-RTX FP16 for an FP32 file or a checkpoint, because its GPUs
    compute nothing faster and lose nothing that counts (docs/quantization.md). Raises ExportError, DataError.
    """
    existing_file(source, "ONNX file" if source.suffix == ".onnx" else "checkpoint or ONNX file")
    if source.suffix != ".onnx":
        return _from_checkpoint(source, folder / f"{stem}.onnx", precision or _default(flavor), calibration)
    model, contract = read_onnx(source)
    target = precision or (_default(flavor) if contract.precision == "fp32" else contract.precision)
    if target == contract.precision:
        if calibration:
            raise ExportError(f"--calibration {calibration} has no use: {source} is {contract.precision} already")
        return source
    try:
        from mutualformer.export.precision.convert import convert, save_checked  # not on a device: onnx-graphsurgeon
    except ModuleNotFoundError as error:
        if precision is None:
            log.warning(
                "%s is built as it is, %s: fp16, the default for TensorRT-RTX, cannot be made of it here (no Python "
                "package %r); export the fp16 file where the model was exported",
                source,
                contract.precision,
                error.name,
            )
            return source
        raise ExportError(
            f"{source}: {precision} cannot be made of an {contract.precision} file here (no Python package "
            f"{error.name!r}); do it where the model was exported, or pip install 'mutualformer[train,export]'"
        ) from error
    converted, _ = convert(model, contract, target, calibration)
    out = folder / f"{stem}.{target}.onnx"
    save_checked(converted, out)
    return out


def _default(flavor: str) -> str:
    return RTX_DEFAULT_PRECISION if flavor == "rtx" else "fp32"


def _from_checkpoint(source: Path, out: Path, precision: str, calibration: str | None) -> Path:
    try:
        from mutualformer.export.precision.convert import export_checkpoint
        from mutualformer.train.checkpoint import load
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{source}: turning a checkpoint into ONNX needs Python package {error.name!r}; "
            "pip install 'mutualformer[train,export]', or export on the training machine and bring the .onnx file"
        ) from error
    return export_checkpoint(load(source), out, precision, calibration).path
