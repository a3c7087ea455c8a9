"""Saliency metrics by PySODMetrics, and nothing of PyTorch: the same numbers for every format of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOD_METRICS = ("s_measure", "max_f", "max_e", "mae")


def to_grey(saliency: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Map in [0, 1] → 0 … 255 as it would be stored: what the benchmarks' metrics are defined on."""
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
            raise ValueError(f"map is {saliency.shape} and mask {mask.shape}, expected one shape")
        grey = saliency if saliency.dtype == np.uint8 else to_grey(saliency)
        for metric in (s, f, e, mae):
            metric.step(pred=grey, gt=mask)
        count += 1
    if not count:
        raise ValueError("no pair to score, expected at least one map with its mask")
    fm, em = f.get_results(), e.get_results()["em"]["curve"]
    found: dict[str, Any] = {
        "s_measure": float(s.get_results()["sm"]),
        "max_f": float(np.max(fm["fm"]["curve"])),
        "max_e": float(np.max(em)),
        "mae": float(mae.get_results()["mae"]),
        "images": count,
    }
    if count > 1:
        each = {
            "s_measure": np.array(s.sms),
            "max_f": np.array(f.changeable_fms)[:, int(np.argmax(fm["fm"]["curve"]))],
            "max_e": np.array(e.changeable_ems)[:, int(np.argmax(em))],
            "mae": np.array(mae.maes),
        }
        found["standard_error"] = {"over": "images", **{name: standard_error(v) for name, v in each.items()}}
    if curves:
        found["precision"] = [float(v) for v in fm["pr"]["p"]]
        found["recall"] = [float(v) for v in fm["pr"]["r"]]
    return found
