"""mAP and CMC by the Market-1501 protocol: answers by the camera that asked are left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.data.item import DataError
from mutualformer.runtime.data.reid_folder import ReidData
from mutualformer.runtime.data.spec import open_data
from mutualformer.runtime.files import replacing
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.train.evaluation.corrupt import corrupt_reid
from mutualformer.train.evaluation.sod import standard_error

if TYPE_CHECKING:
    from mutualformer.train.evaluate import Predict

RANKS = (1, 5, 10)
REID_METRICS = ("map", *(f"r{rank}" for rank in RANKS))


def reid_metrics(
    features: NDArray[Any],
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    query: NDArray[np.int64],
    gallery: NDArray[np.int64],
) -> dict[str, Any]:
    """``features`` (N, F); ``query`` and ``gallery`` are row numbers. Ranked by Euclidean distance, ties by row.

    A query without an answer from another camera is skipped, as the protocol has it. ``standard_error`` is over
    identities (queries of one identity share their answers); left out for one identity.
    """
    found = np.asarray(features, np.float64)
    precisions, first_hits, asked = [], [], []
    for row in query:
        other = ~((identities[gallery] == identities[row]) & (cameras[gallery] == cameras[row]))
        rows = gallery[other]
        right = identities[rows] == identities[row]
        if not right.any():
            continue
        distance = ((found[rows] - found[row]) ** 2).sum(axis=1)
        right = right[np.argsort(distance, kind="stable")]
        places = np.flatnonzero(right)
        precisions.append(float((np.arange(1, len(places) + 1) / (places + 1)).mean()))
        first_hits.append(int(places[0]))
        asked.append(int(identities[row]))
    if not precisions:
        raise DataError("no query has an answer from another camera, expected identities seen by two cameras or more")
    each = {"map": np.array(precisions)} | {f"r{rank}": np.array(first_hits) < rank for rank in RANKS}
    scores: dict[str, Any] = {name: float(values.mean()) for name, values in each.items()}
    scores |= {"queries": len(precisions), "gallery": len(gallery)}
    who = np.array(asked)
    groups = [who == identity for identity in np.unique(who)]
    if len(groups) > 1:
        errors = {name: standard_error(np.array([v[g].mean() for g in groups])) for name, v in each.items()}
        scores["standard_error"] = {"over": "identities", **errors}
    return scores


def extract(contract: Contract, predict: Predict, data: ReidData, batch: int = 16) -> NDArray[np.float32]:
    """(N, F) features of every sample."""
    parts = []
    for start in progress(range(0, len(data), batch), "features", "batches"):
        items = [data[index] for index in range(start, min(start + batch, len(data)))]
        prepared = [prepare(contract, item.rgb, item.nir) for item in items]
        parts.append(predict({name: np.concatenate([p[name] for p in prepared]) for name in prepared[0]}))
    return np.concatenate(parts)


def evaluate_reid(
    contract: Contract, predict: Predict, data: str, out: Path | None = None, how: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """mAP and CMC of a predictor on DATA; ``out``: also keep the features there; ``how``: modalities to spoil first."""
    opened: Any = open_data(data, "reid", contract.input_size)
    if how:
        opened = corrupt_reid(opened, how)
    features = extract(contract, predict, opened)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / "features.npz") as beside:
            np.savez(beside, features=features, identities=opened.identities, cameras=opened.cameras)
    return reid_metrics(features, opened.identities, opened.cameras, opened.query, opened.gallery)
