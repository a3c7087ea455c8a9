"""Saliency metrics by PySODMetrics, and nothing of PyTorch: the same numbers for every format of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.data.item import DataError, Frames, Item
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session
from mutualformer.runtime.tasks import SOD
from mutualformer.train.evaluation.corrupt import CorruptFrames

LEAST_PIXELS = 2  # the E-measure divides by one less than the pixels of a mask


class ScoreError(ValueError):
    """A model's output that no score is defined on."""


def to_grey(saliency: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Map in [0, 1] → 0 … 255 as it would be stored: what the benchmarks' metrics are defined on.

    Raises ScoreError for a map with NaN or infinity: cast to whole numbers it would look like any other.
    """
    if not np.isfinite(saliency).all():
        raise ScoreError(
            f"the saliency map holds NaN or infinity in {int((~np.isfinite(saliency)).sum())} of {saliency.size} "
            "pixels: the model is broken (FP16 overflow, damaged weights); compare it with `mutualformer parity`"
        )
    return np.asarray(np.clip(saliency, 0, 1) * 255 + 0.5, dtype=np.uint8)


def standard_error(values: NDArray[Any]) -> float:
    """Of the mean of (N,) independent values, N > 1."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def sod_metrics(pairs: Iterable[tuple[NDArray[Any], NDArray[np.uint8]]], curves: bool = False) -> dict[str, Any]:
    """S-measure (Fan 2017), maximum F (β² = 0.3, Achanta 2009), maximum E (Fan 2018) and MAE (Perazzi 2012).

    ``pairs``: (saliency in [0, 1] or already uint8, mask uint8 0/255), each (H, W).
    ``curves``: add ``precision`` and ``recall`` over the 256 thresholds, averaged over images.
    ``standard_error``: of each mean over images, F and E at the threshold of the maximum; left out for one image.
    """
    from py_sod_metrics import MAE, Emeasure, Fmeasure, Smeasure

    with warnings.catch_warnings():  # its successor FmeasureV2 gives other numbers than the published tables
        warnings.simplefilter("ignore", UserWarning)
        s, f, e, mae = Smeasure(), Fmeasure(), Emeasure(), MAE()
    count = 0
    for saliency, mask in pairs:
        if saliency.shape != mask.shape:
            raise ScoreError(f"map is {saliency.shape} and mask {mask.shape}, expected one shape")
        if mask.size < LEAST_PIXELS:
            raise ScoreError(f"the mask is {mask.shape}, expected at least {LEAST_PIXELS} pixels")
        grey = saliency if saliency.dtype == np.uint8 else to_grey(saliency)
        for metric in (s, f, e, mae):
            metric.step(pred=grey, gt=mask)
        count += 1
    if not count:
        raise ScoreError("no pair to score, expected at least one map with its mask")
    fm, em = f.get_results(), e.get_results()["em"]["curve"]
    means = (s.get_results()["sm"], np.max(fm["fm"]["curve"]), np.max(em), mae.get_results()["mae"])
    found: dict[str, Any] = {name: float(mean) for name, mean in zip(SOD.names, means, strict=True)}
    found[SOD.counted] = count
    if count > 1:
        of_f, of_e = int(np.argmax(fm["fm"]["curve"])), int(np.argmax(em))
        columns = (s.sms, np.array(f.changeable_fms)[:, of_f], np.array(e.changeable_ems)[:, of_e], mae.maes)
        each = {name: np.array(values) for name, values in zip(SOD.names, columns, strict=True)}
        found["standard_error"] = {"over": "images", **{name: standard_error(v) for name, v in each.items()}}
    if curves:
        found["precision"] = [float(v) for v in fm["pr"]["p"]]
        found["recall"] = [float(v) for v in fm["pr"]["r"]]
    return found


def predict_maps(session: Session, frames: Frames) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Every frame with its saliency map in [0, 1], at the frame's own size."""
    for index in progress(range(len(frames)), "evaluating"):
        item = frames[index]
        saliency = session.run(**prepare(session.contract, item.rgb, item.depth))[SOD.output.name][0]
        size = item.mask.shape if item.mask is not None else item.rgb.shape[:2]
        yield item, restore(saliency, (size[0], size[1]))


def score(
    session: Session,
    data: Frames,
    *,
    title: str = "the data",
    out: Path | None = None,
    maps: bool = False,
    corruption: Mapping[str, str] | None = None,
    curves: bool = False,
) -> dict[str, Any]:
    """Metrics of a model on frames with ground truth. Raises DataError, ScoreError; ``title`` names the data there.

    ``out``: folder for examples.png and, with ``maps``, the saliency maps as PNG. ``corruption``: modality → how it is
    spoilt first. ``curves``: add precision and recall over 256 thresholds.
    """
    from mutualformer.train.evaluation.pictures import grid_indices, qualitative_grid, write_picture

    frames = CorruptFrames(data, corruption) if corruption else data
    wanted = set(grid_indices(len(frames))) if out is not None else set()
    shown = []

    def pairs() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        for index, (item, saliency) in enumerate(predict_maps(session, frames)):
            if item.mask is None:
                raise DataError(
                    f"{title}: frame {item.name} has no ground truth, expected a GT folder to evaluate with"
                )
            try:
                grey = to_grey(saliency)
            except ScoreError as error:
                raise ScoreError(f"{title}, frame {item.name}: {error}") from None
            if index in wanted:
                shown.append((item, grey))
            if out is not None and maps:
                write_picture(out / "maps" / f"{item.name}.png", grey)
            yield grey, item.mask

    metrics = sod_metrics(pairs(), curves=curves)
    if out is not None:
        qualitative_grid(shown, out / "examples.png")
    return metrics
