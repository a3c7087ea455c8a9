"""FP32 ONNX → the same model in another precision, contract updated; and a checkpoint → a file in any precision."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from mutualformer.export.criteria.frames import calibration_frames
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.calibration import DEFAULT_METHOD, METHODS, Feed, check_frames
from mutualformer.export.precision.half import check_keep, to_fp16
from mutualformer.export.precision.placement import DEFAULT, Placement
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.export.precision.ranking import costliest, read_worst
from mutualformer.plugins.files import scratch
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.runtime.sources.folders.spec import open_data

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("mutualformer")

DEFAULT_FRAMES = 64  # calibration frames taken from larger data
RANKING_FRAMES = 4  # of them, on which layers are ranked when no sweep is given


@dataclasses.dataclass(frozen=True)
class Choices:
    """What can be chosen about a conversion; all but ``keep`` are for INT8.

    ``keep``: nodes left one precision higher. ``method``: how scales are chosen, of METHODS. ``keep_worst``: so many
    further nodes stay in FP16, the costliest alone, as the file ``sweep`` of ``parity --sweep`` ranks them or, without
    it, as a sweep over calibration frames does. ``placement``: where Q/DQ pairs stand.
    """

    keep: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    keep_worst: int = 0
    sweep: Path | None = None
    placement: Placement = DEFAULT


DEFAULT_CHOICES = Choices()


@dataclasses.dataclass(frozen=True)
class OnnxModel:
    """A written file. ``worst``: largest difference of its FP32 graph from PyTorch; ``cda_nodes``: how many."""

    path: Path
    contract: Contract
    worst: float
    cda_nodes: int


def calibration_feeds(data: str | None, contract: Contract, limit: int = DEFAULT_FRAMES) -> tuple[list[Feed], str]:
    """At most ``limit`` frames of DATA, evenly picked, as graph inputs, and what they are; None = the default ones.

    Raises DataError, and ExportError for frames that show nothing.
    """
    frames: Any
    if data is None:
        frames = calibration_frames(contract)
        text, items = frames.text, progress(frames, "calibration frames")
        log.info("calibrating on %s; --calibration DATA names others", text)
    else:
        frames = open_data(data, contract.task, contract.input_size)
        indices = np.unique(np.linspace(0, len(frames) - 1, min(limit, len(frames))).round().astype(int)).tolist()
        text, items = data, (frames[index] for index in progress(indices, "calibration frames"))
    feeds = [prepare(contract, item[0], item[1]) for item in items]
    check_frames(feeds)
    return feeds, text


def convert(
    model: onnx.ModelProto,
    contract: Contract,
    precision: str,
    calibration: str | None = None,
    choices: Choices = DEFAULT_CHOICES,
) -> tuple[onnx.ModelProto, Contract]:
    """``model`` (FP32) in ``precision`` with its new contract. Raises ExportError, DataError.

    ``calibration``: DATA for INT8 scales, None = real and rendered frames as ``criteria/frames.py`` picks them.
    """
    if contract.precision != "fp32":
        raise ExportError(f"the graph is {contract.precision}; only an fp32 file can be converted to {precision}")
    if choices.keep_worst and precision != "int8":
        raise ExportError(f"--keep-worst leaves INT8 layers in FP16, but the precision asked for is {precision}")
    if precision == "fp32":
        return model, contract
    card = dict(contract.card)
    if precision == "fp16":
        converted = to_fp16(model, choices.keep)
    else:
        method, placement = choices.method, choices.placement
        if method not in METHODS:
            raise ExportError(f"calibration method is {method!r}, expected one of {', '.join(METHODS)}")
        keep = set(choices.keep)
        check_keep(model, keep)  # before minutes of calibration
        feeds, text = calibration_feeds(calibration, contract)
        quantizer = Quantizer.measure(model, feeds)
        if choices.keep_worst:
            keep.update(_worst(quantizer, contract, feeds, choices))
        converted = quantizer.to_int8(method, keep, placement)
        kept = quantizer.kept(method, placement, keep)
        card["calibration"] = {
            "data": text,
            "method": method,
            "frames": len(feeds),
            "kept_fp16": sorted(kept),
            "kept_because": dict(sorted(Counter(kept.values()).items())),
            "kept_worst": choices.keep_worst,
            **dataclasses.asdict(placement),
        }
    after = dataclasses.replace(contract, precision=precision, card=card)
    onnx.helper.set_model_props(converted, after.to_props())
    return converted, after


def _worst(quantizer: Quantizer, contract: Contract, feeds: Sequence[Feed], choices: Choices) -> list[str]:
    if choices.sweep is not None:
        return read_worst(choices.sweep, choices.keep_worst, contract.weights_sha256)
    return costliest(quantizer, contract, feeds[:RANKING_FRAMES], choices.method, choices.keep_worst)


def check_calibration(calibration: str | None, contract: Contract) -> None:
    """Raise DataError for DATA that cannot be opened: now, and not after the model has been traced."""
    if calibration is not None:
        open_data(calibration, contract.task, contract.input_size)


def export_checkpoint(
    model: nn.Module,
    out: Path,
    precision: str = "fp32",
    calibration: str | None = None,
    choices: Choices = DEFAULT_CHOICES,
) -> OnnxModel:
    """Write ``out``, the ONNX file of a model that ``train.checkpoint.load`` made, in ``precision``.

    Arguments as :func:`convert`'s. Raises ExportError, DataError; ``out`` then keeps what it held.
    """
    from mutualformer.export.graph.from_checkpoint import export_onnx
    from mutualformer.train.evaluation.session import contract_of

    if precision == "int8":
        check_calibration(calibration, contract_of(model))
    if precision == "fp32" and not choices.keep_worst:
        contract, worst = export_onnx(model, out)
    else:
        with scratch() as folder:
            full = folder / "fp32.onnx"
            contract, worst = export_onnx(model, full)
            proto, _ = read_onnx(full)
        proto, contract = convert(proto, contract, precision, calibration, choices)
        save_checked(proto, out)
    file, _ = read_onnx(out)
    return OnnxModel(out, contract, worst, sum(map(is_cda, file.graph.node)))


def save_checked(model: onnx.ModelProto, out: Path) -> None:
    """Write ``out`` once ONNX Runtime has loaded it; a whole file or none. Raises ModelFileError."""
    with replacing(out) as beside:
        onnx.save(model, beside)
        OnnxSession(beside, "cpu").close()
