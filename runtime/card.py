"""A model card as Markdown: the one rendering for the checkpoint's folder and the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import TASKS, TITLES


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return "–" if value is None or value == "" else str(value)


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    cells = [[_cell(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [*tables.markdown(header, cells).splitlines(), ""]


def _metrics(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["Not evaluated.", ""]
    errors, seeds = metrics.get("standard_error") or {}, metrics.get("over_seeds") or {}
    lines = [f"On `{metrics.get('data', 'unknown data')}`", ""]
    header: tuple[str, ...] = ("metric", "this file")
    if errors:
        lines[0] += f", ± standard error over {errors['over']}"
    if seeds:
        lines[0] += f"; over training seeds {_cell(seeds['seeds'])}, mean ± standard deviation"
        header = (*header, "over seeds")
    rows: list[tuple[Any, ...]] = []
    for name in (name for name in TITLES if name in metrics):
        row = f"{metrics[name]:.4f}" + (f" ± {errors[name]:.4f}" if errors.get(name) is not None else "")
        spread = seeds.get(name) or {}
        mean, deviation = spread.get("mean"), spread.get("std")
        both = "" if mean is None else f"{mean:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")
        rows.append((TITLES[name], row, *([both] if seeds else [])))
    lines[0] += "."
    return [*lines, *_table(header, rows)]


def markdown(card: Mapping[str, Any]) -> str:
    """The card for readers: what the model is, data, recipe, metrics with their spread, limits."""
    size = card.get("input_size") or ("?", "?")
    facts = [
        ("task", TASKS[card["task"]].title if card["task"] in TASKS else None),
        ("input", f"{size[0]} × {size[1]} pixels"),
        ("parameters", f"{card['params']:,}" if "params" in card else None),
        ("options", card.get("overrides") or "those of the registry"),
        ("weights sha256", card.get("weights_sha256")),
        ("source revision", card.get("git_revision")),
        ("created", card.get("created")),
    ]
    lines = [f"# {card['model']}", "", *_table(("", ""), facts)]
    lines += ["## Training data", "", *_table(("", ""), list((card.get("data") or {"": "not recorded"}).items()))]
    recipe = card.get("recipe") or {}
    lines += ["## Recipe", ""]
    lines += _table(("", ""), list(recipe.items())) if recipe else ["Not recorded.", ""]
    lines += ["## Metrics", "", *_metrics(card.get("metrics") or {})]
    if card.get("calibration"):
        lines += ["## Calibration", "", *_table(("", ""), list(card["calibration"].items()))]
    lines += ["## Limits", "", card.get("limits") or "Not stated.", ""]
    return "\n".join(lines)
