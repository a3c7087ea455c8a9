"""Evaluation of one model on any data: the same for a checkpoint, an ONNX file, an engine, and a module in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.opening import expand
from mutualformer.train.evaluation import corrupt
from mutualformer.train.evaluation.seen import trained_on
from mutualformer.train.evaluation.tables import probe_table, results_table
from mutualformer.train.tasks import TASKS, load


def evaluate(session: Session, data: str, corruption: str = "") -> dict[str, Any]:
    """Metrics of ``session`` on DATA, and ``trained_on``: how many of the frames it was trained on, by its card.

    ``corruption``: corrupt modalities first, such as "depth=shuffle" (train/evaluation/corrupt.py).
    Raises DataError, ScoreError.
    """
    contract = session.contract
    task = TASKS[contract.task]
    how = corrupt.parse(corruption) if corruption else None
    samples = task.open(data, contract.input_size, True, "test")
    return {**load(task.score)(session, samples, data, how), "trained_on": trained_on(contract.card, samples)}


def evaluate_all(session: Session, name: str, data: Sequence[str], probe: bool = False) -> tuple[dict[str, Any], str]:
    """Evaluate on every DATA (groups of standard sets one by one): (metrics.json, a Markdown table for people).

    ``name``: the model as the user named it. ``probe``: also with each modality shuffled or taken away.
    """
    contract = session.contract
    singles = list(dict.fromkeys(str(single) for text in data for single in expand(text)))
    results = {one: evaluate(session, one) for one in singles}
    found: dict[str, Any] = {
        "model": name,
        "registry_name": contract.model,
        "task": contract.task,
        "precision": contract.precision,
        "weights_sha256": contract.weights_sha256,
        "results": results,
    }
    text = [results_table(results, contract.task)]
    if probe:
        probes = TASKS[contract.task].probes
        found["probe"] = {one: {how: evaluate(session, one, how) for how in probes} for one in singles}
        for one, spoilt in found["probe"].items():
            text.append(f"\n{parse(one).short}:\n\n{probe_table(results[one], spoilt, contract.task)}")
    return found, "\n".join(text) + "\n"
