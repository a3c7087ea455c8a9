"""Saliency metrics over a data set, without PyTorch: every format of a model is scored by the same code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import ModelError
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.frame import DataError, Frames, Item
from mutualformer.runtime.tasks import SOD
from mutualformer.train.evaluation.corrupt import CorruptFrames
from mutualformer.train.evaluation.saliency_scores import SaliencyScores, saliency_scores

LEAST_PIXELS = 2  # the E-measure divides by one less than the pixels of a mask


class ScoreError(ModelError, ValueError):
    """A model's output, or a set of masks, for which no score is defined."""


def to_grey(saliency: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Map in [0, 1] → 0 … 255, as in a file: the benchmarks define their metrics on stored maps.

    Raises ScoreError for a map with NaN or infinity: cast to integers it would look like any other.
    """
    if not np.isfinite(saliency).all():
        raise ScoreError(
            f"the saliency map holds NaN or infinity in {int((~np.isfinite(saliency)).sum())} of {saliency.size} "
            "pixels: the model is broken (FP16 overflow, corrupt weights); compare it with `mutualformer parity`"
        )
    return np.asarray(np.clip(saliency, 0, 1) * 255 + 0.5, dtype=np.uint8)


def standard_error(values: NDArray[Any]) -> float:
    """Standard error of the mean of (N,) independent values, N > 1."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def sod_metrics(pairs: Iterable[tuple[NDArray[Any], NDArray[np.uint8]]], frames: bool = False) -> dict[str, Any]:
    """S-measure (Fan 2017), maximum F (β² = 0.3, Achanta 2009), maximum E (Fan 2018) and MAE (Perazzi 2012).

    ``pairs``: (saliency in [0, 1] or already uint8, mask uint8 0/255), each (H, W).
    ``frames``: add every metric's values image by image, F and E at the threshold of the maximum.
    The key ``standard_error`` has that of each mean over images, F and E as above; it is absent for one image.
    """
    each: list[SaliencyScores] = []
    for saliency, mask in pairs:
        if saliency.shape != mask.shape:
            raise ScoreError(f"map is {saliency.shape} and mask {mask.shape}, expected one shape")
        if mask.size < LEAST_PIXELS:
            raise ScoreError(f"the mask is {mask.shape}, expected at least {LEAST_PIXELS} pixels")
        each.append(saliency_scores(saliency if saliency.dtype == np.uint8 else to_grey(saliency), mask))
    if not each:
        raise ScoreError("no pair to score, expected at least one map with its mask")
    f_curves, e_curves = np.array([one.f_curve for one in each]), np.array([one.e_curve for one in each])
    best_f, best_e = int(np.argmax(f_curves.mean(axis=0))), int(np.argmax(e_curves.mean(axis=0)))
    s_measures, errors = np.array([one.s_measure for one in each]), np.array([one.mae for one in each])
    columns = dict(zip(SOD.names, (s_measures, f_curves[:, best_f], e_curves[:, best_e], errors), strict=True))
    metrics: dict[str, Any] = {name: float(np.mean(values)) for name, values in columns.items()}
    metrics[SOD.counted] = len(each)
    if len(each) > 1:
        spread = {name: standard_error(values) for name, values in columns.items()}
        metrics["standard_error"] = {"over": "images", **spread}
    if frames:
        metrics["frames"] = {name: values.tolist() for name, values in columns.items()}
    return metrics


def predict_maps(session: Session, frames: Frames | Sequence[Item]) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Every frame with its saliency map in [0, 1], at the frame's own size."""
    for index in progress(range(len(frames)), "evaluating"):
        item = frames[index]
        saliency = session.run(**prepare(session.contract, item.rgb, item.depth))[SOD.output.name][0]
        size = item.mask.shape if item.mask is not None else item.rgb.shape[:2]
        yield item, restore(saliency, (size[0], size[1]))


def score(
    session: Session, data: Frames, title: str = "the data", corruption: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Metrics of a model on frames with ground truth. Raises DataError, ScoreError; ``title`` names the data there.

    ``corruption``: modality → how to corrupt it before.
    """

    def pairs() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for item, saliency in predict_maps(session, CorruptFrames(data, corruption) if corruption else data):
            if item.mask is None:
                raise DataError(
                    f"{title}: frame {item.name} has no ground truth, expected a GT folder to evaluate with"
                )
            try:
                yield to_grey(saliency), item.mask
            except ScoreError as error:
                raise ScoreError(f"{title}, frame {item.name}: {error}") from None

    return sod_metrics(pairs())
