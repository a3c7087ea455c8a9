"""Results as Markdown tables in the papers' form, for people; the JSON beside them is for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.data import sets
from mutualformer.runtime.data.spec import short, standard_set
from mutualformer.runtime.reporting.tables import markdown

COLUMNS = {
    "sod": {"s_measure": "S ↑", "max_f": "max F ↑", "max_e": "max E ↑", "mae": "MAE ↓"},
    "reid": {"map": "mAP ↑", "r1": "rank 1 ↑", "r5": "rank 5 ↑", "r10": "rank 10 ↑"},
}
COUNTED = {"sod": "images", "reid": "queries"}


def number(value: Any, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def results_table(results: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """DATA → metrics as rows; under a standard set the paper's own row, where its numbers are known."""
    columns = COLUMNS[task]
    rows, notes, papers = [], [], False
    for data, found in results.items():
        known = standard_set(data)
        count = found[COUNTED[task]]
        rows.append([short(data), count, *(number(found[name]) for name in columns)])
        if known is None:
            continue
        if known.paper:
            rows.append(["– the paper", known.frames["test"], *(number(known.paper.get(name)) for name in columns)])
            papers = True
        else:
            notes.append(f"{known.name}: the paper's numbers are not in this project's configuration.")
        expected = known.frames.get("test")
        if expected and count != expected:
            notes.append(f"{known.name}: {count} of {expected} images, so the two rows do not compare.")
    text = markdown(["data", COUNTED[task], *columns.values()], rows, numbers=True)
    notes = [*([f"The paper: {sets.PAPER}."] if papers else []), *notes]
    return "\n".join([text, *([""] if notes else []), *notes])


def probe_table(clean: Mapping[str, Any], spoilt: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """What each corruption costs: the metric under it, and in brackets its change."""
    columns = COLUMNS[task]
    rows = [["as they are", *(number(clean[name]) for name in columns)]]
    for how, found in spoilt.items():
        rows.append([how, *(f"{number(found[name])} ({found[name] - clean[name]:+.3f})" for name in columns)])
    return markdown(["modalities", *columns.values()], rows, numbers=True)
