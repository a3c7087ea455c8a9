"""FP32 ONNX → the same model in another precision, contract updated: what ``to_onnx`` and ``to_trt`` both call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx

from mutualformer.export.errors import ExportError
from mutualformer.export.precision.calibration import DEFAULT_METHOD, METHODS, Feed
from mutualformer.export.precision.half import check_keep, to_fp16
from mutualformer.export.precision.quantize import Quantizer, depth_readers
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session.onnxruntime import OnnxSession

DEFAULT_FRAMES = 64  # calibration frames taken from larger data
RANKING_FRAMES = 4  # of them, on which layers are ranked when no sweep is given


def calibration_feeds(data: str, contract: Contract, limit: int = DEFAULT_FRAMES) -> list[Feed]:
    """The first ``limit`` frames of DATA as graph inputs. Raises DataError."""
    from mutualformer.runtime.data.spec import open_data

    frames = open_data(data, contract.task, contract.input_size)
    items = (frames[index] for index in progress(range(min(limit, len(frames))), "calibration frames"))
    return [prepare(contract, item[0], item[1]) for item in items]


def convert(
    model: onnx.ModelProto,
    contract: Contract,
    precision: str,
    calibration: str | None = None,
    method: str = DEFAULT_METHOD,
    keep: Iterable[str] = (),
    keep_worst: int = 0,
    sweep: Path | None = None,
) -> tuple[onnx.ModelProto, Contract]:
    """``model`` (FP32) in ``precision`` with its new contract. Raises ExportError, DataError.

    ``keep``: nodes left one precision higher. ``keep_worst``: INT8 only, so many further ones, the costliest alone, as
    the file ``sweep`` of ``parity --sweep`` ranks them or, without it, as a sweep over calibration frames does.
    """
    if contract.precision != "fp32":
        raise ExportError(f"the graph is {contract.precision}; only an fp32 file can be converted to {precision}")
    if keep_worst and precision != "int8":
        raise ExportError(f"--keep-worst leaves INT8 layers in FP16, but the precision asked for is {precision}")
    if precision == "fp32":
        return model, contract
    card = dict(contract.card)
    if precision == "fp16":
        done = to_fp16(model, keep)
    else:
        if calibration is None:
            raise ExportError("precision int8 needs --calibration DATA (a folder or synthetic:N)")
        if method not in METHODS:
            raise ExportError(f"calibration method is {method!r}, expected one of {', '.join(METHODS)}")
        kept = set(keep)
        check_keep(model, kept)  # before minutes of calibration
        feeds = calibration_feeds(calibration, contract)
        quantizer = Quantizer.measure(model, feeds)
        if keep_worst:
            kept.update(_worst(quantizer, contract, feeds, method, keep_worst, sweep))
        done = quantizer.to_int8(method, kept)
        kept.update(depth_readers(model))
        card["calibration"] = {
            "data": calibration,
            "method": method,
            "frames": len(feeds),
            "kept_fp16": sorted(kept),
            "kept_worst": keep_worst,
        }
    after = dataclasses.replace(contract, precision=precision, card=card)
    onnx.helper.set_model_props(done, after.to_props())
    return done, after


def _worst(
    quantizer: Quantizer, contract: Contract, feeds: Sequence[Feed], method: str, count: int, sweep: Path | None
) -> list[str]:
    from mutualformer.export.studies import sweep as sweeps
    from mutualformer.export.studies.trial import Trial

    if sweep is not None:
        return sweeps.read_worst(sweep, count, contract.weights_sha256)
    trial = Trial(quantizer.model, contract, feeds[:RANKING_FRAMES])
    return sweeps.worst(sweeps.layer_costs(quantizer, trial, method), count)


def save_checked(model: onnx.ModelProto, out: Path) -> None:
    """Write ``out`` once ONNX Runtime has loaded it; a whole file or none. Raises ModelFileError."""
    with replacing(out) as beside:
        onnx.save(model, beside)
        OnnxSession(beside, "cpu").close()
