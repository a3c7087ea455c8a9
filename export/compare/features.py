"""Parity of two ReID models: features value by value, retrieval metrics of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from mutualformer.export.compare.result import Parity, check_same_model, judge
from mutualformer.export.criteria.tensors import difference
from mutualformer.export.errors import ExportError
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.folders.reid_folder import ReidData
from mutualformer.train.evaluation.features import reid_metrics

TASK_KEYS = ("map", "r1", "r5", "r10")


def compare_reid(reference: Session, candidate: Session, data: ReidData) -> Parity:
    """Features of every sample from both; mAP and CMC of each by the protocol of ``train/evaluation/features.py``.

    The mean of the reference's features over the data is subtracted first. A ranking depends only on the differences
    between samples: where those are small beside the common part, two models can agree to 0.999 and rank differently.

    Raises ExportError when the files are not one model or the data holds nothing.
    """
    check_same_model(reference, candidate)
    features: tuple[list[Any], list[Any]] = ([], [])
    for index in progress(range(len(data)), "parity"):
        item = data[index]
        inputs = prepare(reference.contract, item.rgb, item.nir)
        r, c = (session.run_unchecked(**inputs)["feature"][0] for session in (reference, candidate))
        for kept, output in zip(features, (r, c), strict=True):
            kept.append(output)
    if not features[0]:
        raise ExportError("the data holds no sample to compare")
    stacked = [np.stack(kept) for kept in features]
    mean = stacked[0].astype(np.float64).mean(axis=0)
    found = difference((r - mean, c - mean) for r, c in zip(*stacked, strict=True))
    labels = (data.identities, data.cameras, data.query, data.gallery)
    both = [reid_metrics(np.nan_to_num(kept), *labels) for kept in stacked]
    scores = [{key: metrics[key] for key in TASK_KEYS} for metrics in both]
    return judge(reference, candidate, found, scores, {"map": ("map_points", 100.0)}, len(features[0]))
