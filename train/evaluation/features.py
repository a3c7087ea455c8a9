"""mAP and CMC by the Market-1501 protocol: answers by the camera that asked are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.folders.reid_folder import ReidData
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.tasks import REID
from mutualformer.train.evaluation.corrupt import corrupt_reid
from mutualformer.train.evaluation.maps import standard_error

RANKS = (1, 5, 10)


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
    vectors = np.asarray(features, np.float64)
    precisions, first_hits, askers = [], [], []
    for row in query:
        other = ~((identities[gallery] == identities[row]) & (cameras[gallery] == cameras[row]))
        rows = gallery[other]
        right = identities[rows] == identities[row]
        if not right.any():
            continue
        distance = ((vectors[rows] - vectors[row]) ** 2).sum(axis=1)
        right = right[np.argsort(distance, kind="stable")]
        places = np.flatnonzero(right)
        precisions.append(float((np.arange(1, len(places) + 1) / (places + 1)).mean()))
        first_hits.append(int(places[0]))
        askers.append(int(identities[row]))
    if not precisions:
        raise DataError("no query has an answer from another camera, expected identities seen by two cameras or more")
    each = {"map": np.array(precisions)} | {f"r{rank}": np.array(first_hits) < rank for rank in RANKS}
    scores: dict[str, Any] = {name: float(values.mean()) for name, values in each.items()}
    scores |= {"queries": len(precisions), "gallery": len(gallery)}
    who = np.array(askers)
    groups = [who == identity for identity in np.unique(who)]
    if len(groups) > 1:
        errors = {name: standard_error(np.array([v[g].mean() for g in groups])) for name, v in each.items()}
        scores["standard_error"] = {"over": "identities", **errors}
    return scores


def extract(session: Session, data: ReidData, batch: int = 16) -> NDArray[np.float32]:
    """(N, F) features of every sample."""
    parts = []
    for start in progress(range(0, len(data), batch), "features", "batches"):
        items = [data[index] for index in range(start, min(start + batch, len(data)))]
        prepared = [prepare(session.contract, item.rgb, item.nir) for item in items]
        inputs = {name: np.concatenate([p[name] for p in prepared]) for name in prepared[0]}
        parts.append(np.asarray(session.run(**inputs)[REID.output.name], np.float32))
    return np.concatenate(parts)


def score(
    session: Session, data: ReidData, title: str = "the data", corruption: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """mAP and CMC of a model. Raises DataError; ``title`` names the data there.

    ``corruption``: modality → how to corrupt it before.
    """
    samples = corrupt_reid(data, corruption) if corruption else data
    try:
        features = extract(session, samples)
        return reid_metrics(features, samples.identities, samples.cameras, samples.query, samples.gallery)
    except DataError as error:
        raise DataError(f"{title}: {error}") from None
