"""The model card: what a file was trained on and how, how good it is and how sure that is, what it is not for.

One schema for all: JSON beside the weights (``train/checkpoint.py`` writes and checks it), the metadata of an ONNX
file, the bundle, and the page for readers that :func:`markdown` makes.

    model, task, input_size, params      which model of the registry this is, and how large
    overrides, architecture              its options, and all dimensions as they were when it was trained
    data, recipe                         what it was trained on, and every setting of the run
    metrics                              of one set ("data" names it) or of several ("sets"); "faults", "over_seeds"
    limits                               what it is not for, in sentences
    weights_sha256, git_revision, created, schema_version
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import TASKS, TITLES

SCHEMA_VERSION = 2  # 1: cards without a seal
_SYNTHETIC = (
    "The training pictures are rendered: how well the model does on a camera of yours is not known until it is "
    "evaluated there."
)


def limits(task: str, data: str) -> str:
    """The card's limits, with what follows from the data."""
    sentence = TASKS[task].limits
    return f"{sentence} {_SYNTHETIC}" if data.startswith("synthetic:") else sentence


def over_seeds(metrics: Sequence[Mapping[str, Any]], seeds: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Mean and sample standard deviation of every metric over runs that differ in the seed alone."""
    spread: dict[str, Any] = {"seeds": list(seeds)}
    for name in names:
        values = [float(one[name]) for one in metrics]
        spread[name] = {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None}
    return spread


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


def _by_set(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Several sets, a row each, with the standard error of each mean in brackets."""
    names = [name for name in TITLES if any(name in metrics for metrics in sets.values())]
    rows: list[tuple[Any, ...]] = []
    for data, metrics in sets.items():
        errors = metrics.get("standard_error") or {}
        cells = [
            "–"
            if name not in metrics
            else f"{metrics[name]:.3f}" + (f" (±{errors[name]:.3f})" if name in errors else "")
            for name in names
        ]
        rows.append((data, *cells, metrics.get("images", "")))
    return _table(("set", *(TITLES[name] for name in names), "pictures"), rows)


def _front_matter(card: Mapping[str, Any]) -> list[str]:
    """The YAML header that model hubs read."""
    tags = {
        "sod": ["salient-object-detection", "rgb-d", "background-removal"],
        "reid": ["re-identification", "rgb-nir"],
    }
    pipeline = {"sod": "image-segmentation", "reid": "image-feature-extraction"}
    lines = ["---", "license: apache-2.0", "library_name: mutualformer"]
    if card["task"] in pipeline:
        lines.append(f"pipeline_tag: {pipeline[card['task']]}")
    lines += ["tags:", *(f"- {tag}" for tag in ["onnx", "tensorrt", *tags.get(card["task"], [])]), "---", ""]
    return lines


def _how_to_run(card: Mapping[str, Any]) -> list[str]:
    name = card["model"]
    if card["task"] == "sod":
        lines = [
            f"mutualformer predict photo.jpg --model {name} --out out     # mask, cut-out, overlay",
            f"mutualformer stream realsense:// --model {name}             # a camera, live",
        ]
        python = [
            "import mutualformer",
            "",
            f'model = mutualformer.load("{name}")  # or the path of this file',
            'mutualformer.predict(model, "photo.jpg").save("out")',
        ]
        return ["```sh", *lines, "```", "", "```python", *python, "```", ""]
    return ["```sh", "mutualformer predict reid:FOLDER --model model.onnx --out out     # features, matches", "```", ""]


def markdown(card: Mapping[str, Any]) -> str:
    """The card for readers: limits first, how to run it, how good it is and how sure that is, data, recipe.

    ``card["picture"]``, where there is one, names an image beside the card.
    """
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
    lines = [*_front_matter(card), f"# {card['model']}", ""]
    if card.get("picture"):
        lines += [f"![what {card['model']} sees]({card['picture']})", ""]
    lines += ["## Limits", "", card.get("limits") or "Not stated.", ""]
    lines += ["## How to run", "", *_how_to_run(card)]
    metrics = card.get("metrics") or {}
    lines += ["## Metrics", "", *(_by_set(metrics["sets"]) if metrics.get("sets") else _metrics(metrics))]
    if metrics.get("faults"):
        lines += ["What faults of a modality cost:", "", *_by_set(metrics["faults"])]
    if metrics.get("conditions"):
        lines += [str(metrics["conditions"]), ""]
    lines += ["## Training data", "", *_table(("", ""), list((card.get("data") or {"": "not recorded"}).items()))]
    recipe = card.get("recipe") or {}
    lines += ["## Recipe", ""]
    lines += _table(("", ""), list(recipe.items())) if recipe else ["Not recorded.", ""]
    if card.get("calibration"):
        lines += ["## Calibration", "", *_table(("", ""), list(card["calibration"].items()))]
    lines += ["## What it is", "", *_table(("", ""), facts)]
    return "\n".join(lines)
