"""Evaluation of one model on any data: the same for a checkpoint, an ONNX file, an engine, and a module in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.reporting import charts
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.opening import expand
from mutualformer.train.evaluation import corrupt
from mutualformer.train.evaluation.seen import trained_on
from mutualformer.train.evaluation.tables import probe_table, results_table
from mutualformer.train.tasks import TASKS, load

CURVES = ("precision", "recall")


def evaluate(
    session: Session,
    data: str,
    *,
    out: Path | None = None,
    maps: bool = False,
    corruption: str = "",
    curves: bool = False,
) -> dict[str, Any]:
    """Metrics of ``session`` on DATA, and ``trained_on``: how many of the frames it was trained on, by its card.

    Raises DataError, ScoreError.

    ``out``: folder for pictures and, with ``maps``, what the model answered. ``corruption``: corrupt modalities first,
    such as "depth=shuffle" (train/evaluation/corrupt.py). ``curves``: add precision and recall over thresholds.
    """
    contract = session.contract
    task = TASKS[contract.task]
    how = corrupt.parse(corruption, contract.task) if corruption else None
    samples = task.open(data, contract.input_size, True, "test")
    metrics = load(task.score)(session, samples, title=data, out=out, maps=maps, corruption=how, curves=curves)
    return {**metrics, "trained_on": trained_on(contract.card, samples)}


def evaluate_all(
    session: Session,
    name: str,
    data: Sequence[str],
    *,
    out: Path | None = None,
    maps: bool = False,
    corruption: str = "",
    probe: bool = False,
) -> tuple[dict[str, Any], str]:
    """Evaluate on every DATA (groups of standard sets one by one): (metrics.json, a Markdown table for people).

    ``name``: the model as the user named it. ``probe``: also with each modality shuffled or taken away. ``out`` gets
    precision_recall.png and a folder for each DATA.
    """
    contract = session.contract
    singles = list(dict.fromkeys(str(single) for text in data for single in expand(text)))
    results, probes, curves = {}, {}, {}
    for one, folder in zip(singles, _folders(singles, out), strict=True):
        metrics = evaluate(session, one, out=folder, maps=maps, corruption=corruption, curves=True)
        results[one] = {key: value for key, value in metrics.items() if key not in CURVES}
        if all(key in metrics for key in CURVES):
            curves[parse(one).short] = metrics
        if probe:
            probes[one] = {how: evaluate(session, one, corruption=how) for how in TASKS[contract.task].probes}
    if out is not None and curves and charts.available():
        from mutualformer.train.evaluation.pictures import precision_recall

        precision_recall(curves, out / "precision_recall.png")
    found = {
        "model": name,
        "registry_name": contract.model,
        "task": contract.task,
        "precision": contract.precision,
        "weights_sha256": contract.weights_sha256,
        "corruption": corruption,
        "results": results,
        **({"probe": probes} if probe else {}),
    }
    text = [f"Data corrupted: {corruption}.\n"] if corruption else []
    text.append(results_table(results, contract.task))
    for one, spoilt in probes.items():
        text.append(f"\n{parse(one).short}:\n\n{probe_table(results[one], spoilt, contract.task)}")
    return found, "\n".join(text) + "\n"


def _folders(data: Sequence[str], out: Path | None) -> list[Path | None]:
    """One folder for each DATA; equal names get a number."""
    names = [parse(one).short.replace("/", "-") for one in data]
    return [out / (n if names.count(n) == 1 else f"{n}-{i}") if out else None for i, n in enumerate(names)]
