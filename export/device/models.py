"""The models of a bundle: an ONNX file and a contract for each precision, and a report on how they were made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import onnx

from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.node_types import KIND_OF, heavy_node_types
from mutualformer.export.precision.convert import check_request, convert
from mutualformer.runtime.card import markdown
from mutualformer.runtime.contract import PRECISIONS, Contract


def wanted_precisions(contract: Contract, names: Sequence[str], calibration: str | None) -> tuple[str, ...]:
    """``names`` in order; if empty, FP32 and FP16, and INT8 where there is calibration data.

    Raises ExportError for a precision that a file of this one cannot become, and for calibration data without use.
    """
    everything = ("fp32", "fp16") + (("int8",) if calibration else ())
    default = (contract.precision,) if contract.precision == "int8" else everything
    precisions = tuple(p for p in PRECISIONS if p in (names or default))
    if "int8" in precisions and contract.precision != "int8" and not calibration:
        raise ExportError("precision int8 needs --calibration FRAMES (a folder, a recording, or synthetic:N)")
    for precision in precisions:
        check_request(contract, precision, calibration if precision == "int8" or "int8" not in precisions else None)
    return precisions


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def report(model: onnx.ModelProto, contract: Contract) -> dict[str, Any]:
    """How one precision was made: its scales, and the type in which each node of the graph computes."""
    kinds = heavy_node_types(model)
    names = {precision: sorted(n for n, k in kinds.items() if k == kind) for precision, kind in KIND_OF.items()}
    row: dict[str, Any] = {
        "convolutions_products_and_cda": {kind: len(nodes) for kind, nodes in names.items()},
        "cda": {node.name: kinds[node.name] for node in model.graph.node if is_cda(node)},
    }
    if contract.precision == "int8":
        recorded = contract.card.get("calibration") or {}
        row["calibration"] = {key: recorded.get(key) for key in ("data", "method", "frames")}
        row["kept_fp16"] = names["fp16"]
    if contract.precision != "fp32":
        row["kept_fp32"] = names["fp32"]
    return row


def models(
    model: onnx.ModelProto, contract: Contract, precisions: Sequence[str], calibration: str | None
) -> dict[str, bytes]:
    """The files ``models/…``: ``model`` in each of ``precisions``. Raises ExportError, DataError."""
    files: dict[str, bytes] = {}
    rows: dict[str, Any] = {}
    for precision in precisions:
        graph, after = convert(model, contract, precision, calibration)
        onnx.checker.check_model(graph)
        files[f"models/model.{precision}.onnx"] = graph.SerializeToString(deterministic=True)
        files[f"models/model.{precision}.contract.json"] = _json(after.to_json())
        rows[precision] = report(graph, after)
    file = f"models/model.{precisions[-1]}.onnx"
    # One page for all precisions, from the last one's card, which has the origin of the INT8 scales if there is INT8.
    files["models/model.md"] = markdown({"task": contract.task, "model": contract.model, **after.card}, file).encode()
    files["models/calibration.json"] = _json({"model": contract.model, "precisions": rows})
    return files
