"""Reads one of our ONNX files: its graph and its contract. Needs the runtime's packages alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.tidy import live_nodes
from mutualformer.plugins.attributes import OP_TYPE
from mutualformer.runtime.contract import Contract, ContractError
from mutualformer.runtime.session import ModelFileError
from mutualformer.runtime.session.onnx_file import OnnxFile, read_onnx_file

# CDA nodes in the models of each task, for files exported before the contract recorded their number.
_BLOCKS = {"sod": 2, "reid": 1}
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def open_onnx(path: Path) -> tuple[OnnxFile, Contract]:
    """The file, read once, and its contract. Raises ExportError if it is not ours or lost CDA nodes."""
    try:
        file = read_onnx_file(path, "ONNX file")
    except ModelFileError as error:
        raise ExportError(str(error)) from error
    try:
        contract = Contract.from_props(file.props)
    except ContractError as error:
        raise ExportError(f"{path}: {error}") from error
    refuse_inlined(path, file.model, contract)
    try:
        onnx.checker.check_model(file.model)
    except onnx.checker.ValidationError as error:
        reason = (str(error).strip() or "not ONNX").splitlines()[0]
        raise ExportError(f"{path}: not a readable ONNX file ({reason})") from error
    return file, contract


def read_onnx(path: Path) -> tuple[onnx.ModelProto, Contract]:
    """The graph and its contract, as :func:`open_onnx`."""
    file, contract = open_onnx(path)
    return file.model, contract


def refuse_inlined(path: Path, model: onnx.ModelProto, contract: Contract) -> None:
    """Raise ExportError when ``model`` has fewer CDA nodes than it was exported with.

    Tools that inline functions or optimise a graph replace the nodes by standard operators. Such a file computes the
    same, but no engine of it would hold our plugin, and the proof "every node became a plugin layer" would pass.
    Nodes that no output depends on do not count.
    """
    found, expected = sum(map(is_cda, live_nodes(model.graph))), contract.cda_nodes
    if expected is None:
        architecture = contract.card.get("architecture")
        fusion = architecture.get("fusion") if isinstance(architecture, dict) else None
        expected = 0 if fusion in ("concat", "cross_attention") else _BLOCKS[contract.task]
    if found < expected:
        raise ExportError(
            f"{path}: {found} of {expected} {OP_TYPE} nodes are left: functions were inlined; export again, or give "
            "the file before optimisation"
        )


def refuse_corrupt_weights(path: Path, model: onnx.ModelProto) -> None:
    """Raise ExportError when a weight is NaN or infinite: an engine of it would answer NaN for every frame."""
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor)
            if not np.isfinite(values).all():
                raise ExportError(
                    f"{path}: {int((~np.isfinite(values)).sum())} of {values.size} values of weight {tensor.name!r} "
                    "are NaN or infinite; the training diverged or the file is corrupt"
                )
