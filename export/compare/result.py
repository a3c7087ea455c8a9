"""The outcome of one comparison, the same for every task, and the check that both files are one model."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.export.criteria.tensors import TensorDifference, violations
from mutualformer.export.errors import ExportError
from mutualformer.runtime.benchmarks.measure import conditions
from mutualformer.runtime.session import Session
from mutualformer.runtime.tasks import TASKS, Budget

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Shown:
    """A frame of the report: its caption and its pictures under their headings, in order."""

    name: str
    pictures: list[tuple[str, NDArray[np.uint8]]]


def host() -> dict[str, Any]:
    """When and where a comparison was made."""
    about = conditions()
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": platform.machine(),
        **{key: about[key] for key in ("processor", "cores", "python", "numpy")},
    }


@dataclass
class Parity:
    """Outcome of one comparison; ``problems`` empty = parity holds.

    ``measured``: the value for each bound of ``budget``. ``shown``: frames in pictures.
    """

    reference: dict[str, Any]
    candidate: dict[str, Any]
    precision: str
    data: str
    frames: int
    tensor: dict[str, Any]
    task: dict[str, Any]
    budget: Budget
    problems: list[str]
    measured: dict[str, float] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=lambda: host())

    def as_dict(self) -> dict[str, Any]:
        """For ``parity.json``."""
        kept = {name: value for name, value in vars(self).items() if name != "shown"}
        head = {"schema_version": SCHEMA_VERSION, "holds": not self.problems}
        return {**head, **kept, "budget": self.budget.as_dict()}


def judge(
    reference: Session,
    candidate: Session,
    tensor: TensorDifference,
    scores: Sequence[Mapping[str, float]],
    bounded: Mapping[str, tuple[str, float]],
    frames: int,
) -> Parity:
    """The outcome, from the accumulated differences and the task metrics (``scores``: reference, candidate).

    ``bounded``: metric → (its name in ``runtime.tasks.Budget``, factor to that name's unit).
    """
    precision = candidate.contract.precision
    task = {
        key: {"reference": value, "candidate": scores[1][key], "delta": abs(scores[1][key] - value)}
        for key, value in scores[0].items()
    }
    budget = TASKS[candidate.contract.task].budgets[precision]
    deltas = {name: factor * task[key]["delta"] for key, (name, factor) in bounded.items()}
    return Parity(
        reference=reference.describe(),
        candidate=candidate.describe(),
        precision=precision,
        data="",
        frames=frames,
        tensor=asdict(tensor),
        task=task,
        budget=budget,
        problems=violations(budget, tensor, deltas),
        measured={"max_abs": tensor.max_abs, "mean_abs": tensor.mean_abs, "cosine": tensor.cosine, **deltas},
    )


def check_same_model(reference: Session, candidate: Session) -> None:
    """Raise ExportError unless both files come from one checkpoint."""
    for what in ("task", "model", "input_size", "weights_sha256"):
        left, right = getattr(reference.contract, what), getattr(candidate.contract, what)
        if left != right:
            raise ExportError(
                f"reference and candidate are not the same model: {what} is {_short(left)} and {_short(right)}; "
                "export the candidate again from the reference checkpoint"
            )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) > 40 else text
