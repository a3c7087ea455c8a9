"""Evaluation of one model on any data: the same for a checkpoint, an ONNX file, an engine, and a module in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.reporting import charts
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.opening import expand
from mutualformer.train.evaluation import corrupt
from mutualformer.train.evaluation.seen import trained_on
from mutualformer.train.evaluation.tables import probe_table, results_table
from mutualformer.train.tasks import TASKS

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
    """Metrics of ``session`` on DATA, and ``trained_on``: how many of the frames its card says it was trained on.

    Raises DataError, ScoreError.

    ``out``: folder for pictures and, with ``maps``, what the model answered. ``corruption``: spoil modalities first,
    such as "depth=shuffle" (train/evaluation/corrupt.py). ``curves``: add precision and recall over thresholds.
    """
    contract = session.contract
    task = TASKS[contract.task]
    how = corrupt.parse(corruption, contract.task) if corruption else None
    samples = task.open(data, contract.input_size, True, "test")
    metrics = task.score(session, samples, title=data, out=out, maps=maps, corruption=how, curves=curves)
    return {**metrics, "trained_on": trained_on(contract.card, samples)}


@dataclass
class Evaluation:
    """Everything ``mutualformer evaluate`` says about a model. ``results``, ``probe``: DATA → metrics."""

    model: str
    contract: Contract
    corruption: str = ""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    probe: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "model": self.model,
            "registry_name": self.contract.model,
            "task": self.contract.task,
            "precision": self.contract.precision,
            "weights_sha256": self.contract.weights_sha256,
            "corruption": self.corruption,
            "results": self.results,
            **({"probe": self.probe} if self.probe else {}),
        }

    def table(self) -> str:
        """Markdown, for people."""
        task = self.contract.task
        text = [results_table(self.results, task)]
        if self.corruption:
            text.insert(0, f"Data corrupted: {self.corruption}.\n")
        for one, spoilt in self.probe.items():
            text.append(f"\n{parse(one).short}:\n\n{probe_table(self.results[one], spoilt, task)}")
        return "\n".join(text) + "\n"


def evaluate_all(
    session: Session,
    name: str,
    data: Sequence[str],
    *,
    out: Path | None = None,
    maps: bool = False,
    corruption: str = "",
    probe: bool = False,
) -> Evaluation:
    """Evaluate on every DATA (groups of standard sets one by one). ``name``: how the model was called.

    ``probe``: also with each modality shuffled or taken away. ``out`` gets precision_recall.png and a folder a DATA.
    """
    result = Evaluation(name, session.contract, corruption)
    singles = list(dict.fromkeys(str(single) for text in data for single in expand(text)))
    curves = {}
    for one, folder in zip(singles, _folders(singles, out), strict=True):
        metrics = evaluate(session, one, out=folder, maps=maps, corruption=corruption, curves=True)
        result.results[one] = {key: value for key, value in metrics.items() if key not in CURVES}
        if all(key in metrics for key in CURVES):
            curves[parse(one).short] = metrics
        if probe:
            ways = TASKS[session.contract.task].probes
            result.probe[one] = {how: evaluate(session, one, corruption=how) for how in ways}
    if out is not None and curves and charts.available():
        from mutualformer.train.evaluation.pictures import precision_recall

        precision_recall(curves, out / "precision_recall.png")
    return result


def _folders(data: Sequence[str], out: Path | None) -> list[Path | None]:
    """One folder a DATA; equal names are told apart by number."""
    names = [parse(one).short.replace("/", "-") for one in data]
    return [out / (n if names.count(n) == 1 else f"{n}-{i}") if out else None for i, n in enumerate(names)]
