"""Many variants of one graph judged on the same frames: reference outputs computed once, variants held in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from mutualformer.export.criteria.tensors import TensorDifference
from mutualformer.export.errors import ExportError
from mutualformer.export.precision.calibration import Feed
from mutualformer.export.precision.ranking import Judge, noise
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.walk import spread_over

Score = Callable[[Sequence[NDArray[Any]]], dict[str, float]]


@dataclass(frozen=True)
class TrialOutcome:
    """``tensor``: outputs against those of the reference graph; ``change``: task metrics, variant − reference."""

    tensor: TensorDifference
    change: dict[str, float]

    @property
    def noise(self) -> float:
        """Σ (r − c)² / Σ r²: what the signal-to-noise ratio is the logarithm of; 0 = equal."""
        return noise(self.tensor)

    def as_row(self) -> dict[str, float | None]:
        """For tables: mean_abs, max_abs, snr_db and one ``delta_…`` per metric."""
        return {
            "mean_abs": self.tensor.mean_abs,
            "max_abs": self.tensor.max_abs,
            "snr_db": self.tensor.snr_db,
            **{f"delta_{key}": value for key, value in self.change.items()},
        }


class Trial(Judge):
    """A :class:`Judge` that knows the truth as well: outcomes then tell task metrics."""

    def __init__(self, model: onnx.ModelProto, contract: Contract, feeds: Sequence[Feed]) -> None:
        super().__init__(model, contract, feeds)
        self._score: Score | None = None
        self.reference: dict[str, float] = {}

    def score_with(self, score: Score) -> None:
        """From now on outcomes tell task metrics as well; ``score`` makes them of all outputs."""
        self._score, self.reference = score, score(self.answers)

    def judge(self, model: onnx.ModelProto) -> TrialOutcome:
        """How far ``model`` is from the reference on all frames. Raises ExportError for NaN or infinity in either."""
        outputs = self.outputs(model)
        scores = self._score(outputs) if self._score else {}
        return TrialOutcome(
            self.difference(outputs), {key: scores[key] - value for key, value in self.reference.items()}
        )


def open_trial(model: onnx.ModelProto, contract: Contract, data: Sequence[str], frames: int) -> Trial:
    """``frames`` frames of DATA, evenly picked; retrieval takes all there are. Raises DataError, ExportError.

    Frames without a mask take the reference's own map, binarised at 0.5, as ground truth.
    """
    if contract.task == "reid":
        return _reid_trial(model, contract, data)
    joined = opening.frames(data, contract.input_size)
    items = [joined[index] for index in spread_over(len(joined), frames)]
    trial = Trial(model, contract, [prepare(contract, item.rgb, item.depth) for item in items])
    size = contract.input_size[::-1]
    truths = [
        item.mask if item.mask is not None else np.where(answer >= THRESHOLD, 255, 0).astype(np.uint8)
        for item, answer in zip(items, trial.answers, strict=True)
    ]
    masks = [np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST), np.uint8) for truth in truths]
    trial.score_with(lambda maps: _sod_scores(maps, masks))
    return trial


def _sod_scores(maps: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    from mutualformer.train.evaluation.maps import sod_metrics

    metrics = sod_metrics(zip(maps, masks, strict=True))
    return {key: float(metrics[key]) for key in ("mae", "s_measure")}


def _reid_trial(model: onnx.ModelProto, contract: Contract, data: Sequence[str]) -> Trial:
    from mutualformer.train.evaluation.features import reid_metrics

    if len(data) != 1:
        raise ExportError(f"ReID is judged on one DATA at a time, found {len(data)}: identities must not mix")
    identities: Any = opening.identities(data[0], contract.input_size)
    items = [identities[index] for index in range(len(identities))]
    labels = (identities.identities, identities.cameras, identities.query, identities.gallery)

    def score(features: Sequence[NDArray[Any]]) -> dict[str, float]:
        return {"map": float(reid_metrics(np.stack(features), *labels)["map"])}

    trial = Trial(model, contract, [prepare(contract, item.rgb, item.nir) for item in items])
    trial.score_with(score)
    return trial
