"""An ONNX file of ours, read: the graph and what it promises. Runs where only the runtime's packages are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.runtime.contract import Contract, ContractError
from mutualformer.runtime.session import ModelFileError
from mutualformer.runtime.session.onnx_file import OnnxFile, read_onnx_file

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def open_onnx(path: Path) -> tuple[OnnxFile, Contract]:
    """The file, read once, and its contract. Raises ExportError when it is no ONNX file of ours."""
    try:
        file = read_onnx_file(path, "ONNX file")
        onnx.checker.check_model(file.model)
    except (ModelFileError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip() or "not ONNX").splitlines()[0]
        sentence = reason if isinstance(error, ModelFileError) else f"{path}: not a readable ONNX file ({reason})"
        raise ExportError(sentence) from error
    try:
        return file, Contract.from_props(file.props)
    except ContractError as error:
        raise ExportError(f"{path}: {error}") from error


def read_onnx(path: Path) -> tuple[onnx.ModelProto, Contract]:
    """The graph and its contract, as :func:`open_onnx`."""
    file, contract = open_onnx(path)
    return file.model, contract


def refuse_damaged_weights(path: Path, model: onnx.ModelProto) -> None:
    """Raise ExportError when a weight is NaN or infinite: an engine of it would answer NaN for every frame."""
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor)
            if not np.isfinite(values).all():
                raise ExportError(
                    f"{path}: {int((~np.isfinite(values)).sum())} of {values.size} values of weight {tensor.name!r} "
                    "are NaN or infinite; the training diverged or the file is damaged"
                )
