"""The model card: what a file was trained on and how, how good it is and how sure that is, what it is not for.

``checkpoint.save`` keeps it as JSON beside the weights, ``model.md`` is the same for readers; both go into ONNX
metadata and the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.card import markdown, parents
from mutualformer.runtime.files import write_bytes
from mutualformer.runtime.tasks import TASKS
from mutualformer.train.checkpoint import read_card, write_card

SYNTHETIC = (
    "The training pictures are rendered: how well the model does on a camera of yours is not known until it is "
    "evaluated there."
)


INHERITED = ("model", "weights_sha256", "data", "prints")


def parent(path: Path, given: str, role: str) -> list[dict[str, Any]]:
    """What a card says about the model at ``path`` that it was made of, and about that one's own parents.

    ``given``: how the user called it; ``role``: "fine-tuned from" or "taught by".
    """
    card = read_card(path)
    ours = {key: card[key] for key in INHERITED if card.get(key)}
    return [{"role": role, "given": given, **ours}, *map(dict, parents(card))]


def limits(task: str, data: str) -> str:
    """The card's limits, with what follows from the data."""
    sentence = TASKS[task].limits
    return f"{sentence} {SYNTHETIC}" if data.startswith("synthetic:") else sentence


def write_markdown(weights: Path) -> Path:
    """Write ``X.md`` beside ``X.safetensors`` from its card; returns the path."""
    path = weights.with_suffix(".md")
    write_bytes(path, markdown(read_card(weights), weights.name).encode(errors="backslashreplace"))
    return path


def change(weights: Path, **changes: Any) -> None:
    """Replace parts of the card of ``weights`` and its readable form."""
    card = {**read_card(weights), **changes}
    write_card(weights, card)
    write_markdown(weights)


def over_seeds(metrics: Sequence[Mapping[str, Any]], seeds: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Mean and sample standard deviation of every metric over runs that differ in the seed alone."""
    from statistics import fmean, stdev

    spread: dict[str, Any] = {"seeds": list(seeds)}
    for name in names:
        values = [float(one[name]) for one in metrics]
        spread[name] = {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None}
    return spread
