"""Results as Markdown tables in the papers' form, for people; the JSON beside them is for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.reporting.tables import markdown
from mutualformer.runtime.sources.folders import sets
from mutualformer.runtime.sources.grammar import parse
from mutualformer.runtime.sources.opening import standard_set
from mutualformer.runtime.tasks import TASKS


def number(value: Any, digits: int = 3) -> str:
    """A cell: ``digits`` decimals, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def results_table(results: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """DATA → metrics as rows; under a standard set the paper's own row, where its numbers are known."""
    columns, counted = TASKS[task].headings, TASKS[task].counted
    rows, notes = [], []
    for data, metrics in results.items():
        standard = standard_set(parse(data))
        count = metrics[counted]
        rows.append([parse(data).short, count, *(number(metrics[name]) for name in columns)])
        if seen := metrics.get("trained_on", 0):
            notes.append(
                f"{parse(data).short}: the model was trained on {seen} of these {count} frames, by its card; they "
                "do not show how it does on new ones."
            )
        if standard is None:
            continue
        if standard.paper:
            paper = [number(standard.paper.get(name)) for name in columns]
            rows.append(["– the paper", standard.frames["test"], *paper])
        expected = standard.frames.get("test")
        if expected and count != expected:
            notes.append(f"{standard.name}: {count} of {expected} images, so the two rows do not compare.")
    text = markdown(["data", counted, *columns.values()], rows, numbers=True)
    notes = [*([f"The paper: {sets.PAPER}."] if any("– the paper" in row for row in rows) else []), *notes]
    return "\n".join([text, *([""] if notes else []), *notes])


def probe_table(clean: Mapping[str, Any], spoilt: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """What each corruption costs: the metric under it, and in brackets its change."""
    columns = TASKS[task].headings
    rows = [["as they are", *(number(clean[name]) for name in columns)]]
    for how, metrics in spoilt.items():
        rows.append([how, *(f"{number(metrics[name])} ({metrics[name] - clean[name]:+.3f})" for name in columns)])
    return markdown(["modalities", *columns.values()], rows, numbers=True)
