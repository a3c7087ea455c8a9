"""Converts a model to another precision and updates its contract; writes any of our models as an ONNX file."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from mutualformer.export.criteria.frames import PARITY_SEED, Selection, calibration_frames, parity_frames, share_of
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.export.precision.calibration import MIN_FRAMES, Feed, check_frames
from mutualformer.export.precision.half import check_keep, to_fp16
from mutualformer.export.precision.placement import Placement
from mutualformer.export.precision.quantize import Quantizer
from mutualformer.export.precision.ranking import Judge, costliest
from mutualformer.export.precision.widen import to_fp32
from mutualformer.extras import install
from mutualformer.plugins.files import scratch
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing, write_bytes
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import existing_file
from mutualformer.runtime.session.onnxruntime import OnnxSession
from mutualformer.runtime.sources import opening

log = logging.getLogger("mutualformer")

DEFAULT_FRAMES = 64  # calibration frames taken from larger data
RANKING_FRAMES = 4  # calibration frames on which layers are ranked
JUDGED_FRAMES = 8  # frames on which a new file is compared with its source
OF_A_KIND = 4  # of each kind of default frames, for INT8


@dataclasses.dataclass(frozen=True)
class Choices(Placement):
    """Options of a conversion; all but ``keep`` are for INT8.

    ``keep``: nodes left one precision higher. ``keep_worst``: how many further nodes stay in FP16: those that cost most
    when quantised alone.
    """

    keep: tuple[str, ...] = ()
    keep_worst: int = 0


DEFAULT_CHOICES = Choices()


@dataclasses.dataclass(frozen=True)
class OnnxModel:
    """A written file. ``distance``: a sentence on how far its answers are from those of its source."""

    path: Path
    contract: Contract
    distance: str


def calibration_feeds(data: str | None, contract: Contract, limit: int = DEFAULT_FRAMES) -> tuple[list[Feed], str]:
    """At most ``limit`` frames of DATA, evenly picked, as graph inputs, and their description; None = default frames.

    Raises DataError, and ExportError for blank frames.
    """
    chosen = calibration_frames(contract) if data is None else Selection((share_of(data, contract, limit),))
    if data is None:
        log.info("calibrating on %s; --calibration DATA names others", chosen.text)
    feeds = [prepare(contract, item[0], item[1]) for item in progress(chosen, "calibration frames")]
    check_frames(feeds)
    return feeds, data or chosen.text


def convert(
    model: onnx.ModelProto,
    contract: Contract,
    precision: str,
    calibration: str | None = None,
    choices: Choices = DEFAULT_CHOICES,
) -> tuple[onnx.ModelProto, Contract]:
    """``model`` in ``precision`` and its new contract; unchanged where it has that. Raises ExportError, DataError.

    ``calibration``: DATA for INT8 scales, None = real and rendered frames as ``criteria/frames.py`` picks them. An FP16
    graph is widened first, which is exact; an INT8 graph cannot be converted, because its rounding cannot be undone.
    """
    check_request(contract, precision, choices=choices)
    if precision == contract.precision:
        return model, contract
    model = to_fp32(model) if contract.precision == "fp16" else model
    card = dict(contract.card)
    if precision == "fp32":
        converted = model
    elif precision == "fp16":
        converted = to_fp16(model, choices.keep)
    else:
        keep = set(choices.keep)
        check_keep(model, keep)  # before minutes of calibration
        feeds, text = calibration_feeds(calibration, contract)
        quantizer = Quantizer.measure(model, feeds)
        if choices.keep_worst:
            keep.update(costliest(quantizer, contract, feeds[:RANKING_FRAMES], choices.keep_worst))
        converted = quantizer.to_int8(keep, choices)
        kept = quantizer.kept(choices, keep)
        card["calibration"] = {
            "data": text,
            "method": "mse",
            "frames": len(feeds),
            "kept_fp16": sorted(kept),
            "kept_because": dict(sorted(Counter(kept.values()).items())),
            **dataclasses.asdict(choices),
        }
    nodes = sum(map(is_cda, converted.graph.node))
    after = dataclasses.replace(contract, precision=precision, card=card, cda_nodes=nodes)
    onnx.helper.set_model_props(converted, after.to_props())
    return converted, after


def check_request(
    contract: Contract, precision: str, calibration: str | None = None, choices: Choices = DEFAULT_CHOICES
) -> None:
    """Raise ExportError, or DataError for DATA that cannot be opened, where convert() would fail: before any work.

    ``contract``: of the source model.
    """
    if contract.precision == "int8" != precision:
        raise ExportError(
            f"the file is int8, and its rounding cannot be undone: make the {precision} file of the fp32 or fp16 one"
        )
    if choices.keep_worst and precision != "int8":
        raise ExportError(f"--keep-worst leaves INT8 layers in FP16, but the precision asked for is {precision}")
    if calibration is None:
        return
    if precision != "int8" or contract.precision == "int8":
        raise ExportError(f"--calibration {calibration} has no use: only scales of a new int8 file come from frames")
    count = len(opening.of_task(calibration, contract.task, contract.input_size))
    if count < MIN_FRAMES:
        raise ExportError(f"calibration: {calibration} has {count} frames, expected at least {MIN_FRAMES}")


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model as a graph. ``exact``: a sentence on its distance from PyTorch where it was just traced, else ""."""

    graph: onnx.ModelProto
    contract: Contract
    exact: str = ""


def open_model(source: Path, check: Callable[[Contract], None] = lambda contract: None) -> Opened:
    """The graph of one of our .onnx files, or the FP32 graph of a checkpoint, which takes tracing and PyTorch.

    ``check`` gets the contract before the work, to raise early. Raises ExportError, CheckpointError.
    """
    if existing_file(source).suffix == ".onnx":
        graph, contract = read_onnx(source)
        check(contract)
        return Opened(graph, contract)
    if source.suffix != ".safetensors":
        raise ExportError(f"{source}: expected a checkpoint (.safetensors) or an ONNX file to make another file of")
    try:
        from mutualformer.export.graph.from_checkpoint import export_onnx
        from mutualformer.train.checkpoint import load
        from mutualformer.train.evaluation.session import contract_of
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{source}: turning a checkpoint into ONNX needs Python package {error.name!r}: "
            f"{install('train,export')}; or export on the training machine and bring the .onnx file"
        ) from error
    module = load(source)
    check(contract_of(module))
    with scratch() as folder:
        contract, worst = export_onnx(module, folder / "fp32.onnx")
        graph, _ = read_onnx(folder / "fp32.onnx")
    return Opened(graph, contract, f"its answers differ from PyTorch's by {worst:.2g} at most, on 4 random frames")


def write_onnx(
    source: Path,
    out: Path,
    precision: str = "fp32",
    calibration: str | None = None,
    choices: Choices = DEFAULT_CHOICES,
    check: Callable[[Contract], None] = lambda contract: None,
) -> OnnxModel:
    """Write ``out``, the ONNX file in ``precision`` of ``source``: a checkpoint, or one of our .onnx files.

    Arguments as :func:`convert`'s, ``check`` as :func:`open_model`'s. Needs PyTorch for a checkpoint alone. Raises
    ExportError, DataError, CheckpointError, and leaves ``out`` unchanged then.
    """

    def possible(contract: Contract) -> None:
        check_request(contract, precision, calibration, choices)
        check(contract)

    opened = open_model(source, possible)
    held = opened.contract.precision
    if precision == held:
        if opened.exact:
            save_checked(opened.graph, out)
        else:
            write_bytes(out, source.read_bytes())
        return OnnxModel(out, opened.contract, opened.exact or f"{source} as it is")
    proto, contract = convert(opened.graph, opened.contract, precision, calibration, choices)
    save_checked(proto, out)
    return OnnxModel(out, contract, _distance(opened.graph, proto, contract, calibration, f"the {held} file"))


def _distance(
    reference: onnx.ModelProto, made: onnx.ModelProto, contract: Contract, data: str | None, name: str
) -> str:
    """A sentence on how far the answers of ``made`` are from those of ``reference``, called ``name``.

    An INT8 file is judged on every kind of default frame, and the sentence names the kind on which it is worst: scales
    that suit photographs may clip what a sensor gives.
    """
    if data is None and contract.task == "sod" and contract.precision == "int8":
        kinds = [dataclasses.replace(one, count=min(one.count, OF_A_KIND)) for one in parity_frames(contract).parts]
    else:
        kinds = [share_of(data or f"synthetic:{JUDGED_FRAMES}?seed={PARITY_SEED}", contract, JUDGED_FRAMES)]
    judge = Judge(reference, contract, [prepare(contract, item[0], item[1]) for kind in kinds for item in kind])
    outputs = judge.outputs(made)
    far = judge.difference(outputs)
    sentence = f"its answers differ from {name}'s by {far.mean_abs:.2g} on average, {far.max_abs:.2g} at most, on "
    if len(kinds) == 1:
        return f"{sentence}{len(outputs)} frames of {kinds[0].about}"
    ends = np.cumsum([len(kind) for kind in kinds]).tolist()
    worst, about = max(
        (judge.difference(outputs, slice(end - len(kind), end)).mean_abs, kind.about)
        for end, kind in zip(ends, kinds, strict=True)
    )
    return f"{sentence}{len(outputs)} frames of {len(kinds)} kinds; most, {worst:.2g} on average, on {about}"


def save_checked(model: onnx.ModelProto, out: Path) -> None:
    """Write ``out``, whole or not at all, once ONNX Runtime has loaded it. Raises ModelFileError."""
    with replacing(out) as beside:
        onnx.save(model, beside)
        OnnxSession(beside, "cpu").close()
