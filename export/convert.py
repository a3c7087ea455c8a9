"""FP32 ONNX → the same model in another precision, contract updated: what ``to_onnx`` and ``to_trt`` both call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import onnx

from export.calibration import METHODS, Feed
from export.errors import ExportError
from export.half import to_fp16
from export.quantize import DEFAULT_METHOD, to_int8
from runtime.contract import Contract
from runtime.files import replacing
from runtime.preprocess import prepare
from runtime.session_onnx import OnnxSession

DEFAULT_FRAMES = 64  # calibration frames taken from larger data


def calibration_feeds(data: str, contract: Contract, limit: int = DEFAULT_FRAMES) -> list[Feed]:
    """The first ``limit`` frames of DATA as graph inputs. Raises DataError."""
    from train.data.spec import open_data

    frames = open_data(data, contract.task, contract.input_size)
    return [prepare(contract, frames[i][0], frames[i][1]) for i in range(min(limit, len(frames)))]


def convert(
    model: onnx.ModelProto,
    contract: Contract,
    precision: str,
    calibration: str | None = None,
    method: str = DEFAULT_METHOD,
    keep: Iterable[str] = (),
) -> tuple[onnx.ModelProto, Contract]:
    """``model`` (FP32) in ``precision`` with its new contract. Raises ExportError, DataError."""
    if contract.precision != "fp32":
        raise ExportError(f"the graph is {contract.precision}; only an fp32 file can be converted to {precision}")
    if precision == "fp32":
        return model, contract
    if precision == "fp16":
        done = to_fp16(model, keep)
    else:
        if calibration is None:
            raise ExportError("precision int8 needs --calibration DATA (a folder, a recording, or synthetic:N)")
        if method not in METHODS:
            raise ExportError(f"calibration method is {method!r}, expected one of {', '.join(METHODS)}")
        feeds = calibration_feeds(calibration, contract)
        done = to_int8(model, feeds, method, keep)
    card = dict(contract.card)
    if precision == "int8":
        card["calibration"] = {
            "data": calibration,
            "method": method,
            "frames": len(feeds),
            "kept_fp16": sorted(keep),
        }
    after = dataclasses.replace(contract, precision=precision, card=card)
    onnx.helper.set_model_props(done, after.to_props())
    return done, after


def save_checked(model: onnx.ModelProto, out: Path) -> None:
    """Write ``out`` once ONNX Runtime has loaded it; a whole file or none. Raises ModelFileError."""
    with replacing(out) as beside:
        onnx.save(model, beside)
        OnnxSession(beside, "cpu").close()
