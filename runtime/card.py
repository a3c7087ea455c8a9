"""A model card as Markdown: the one rendering for the checkpoint's folder and the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import TASKS, TITLES


def parents(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models that a card's model was made of, nearest first; a stranger's card may hold anything there."""
    value = card.get("parents")
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []


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


def _how_to_run(card: Mapping[str, Any], name: str) -> list[str]:
    if card["task"] == "sod":
        lines = [
            f"mutualformer predict photo.jpg --model {name} --out out     # mask, cut-out, overlay",
            f"mutualformer stream realsense:// --model {name}             # a camera, live",
        ]
        python = [
            "import mutualformer",
            "",
            f'model = mutualformer.load("{name}")',
            'mutualformer.predict(model, "photo.jpg").save("out")',
        ]
        return ["```sh", *lines, "```", "", "```python", *python, "```", ""]
    return ["```sh", f"mutualformer predict reid:FOLDER --model {name} --out out     # features, matches", "```", ""]


def _data(card: Mapping[str, Any]) -> list[str]:
    """What it was trained on, and what the models were that it is made of: their data are its data too."""
    lines = _table(("", ""), list((card.get("data") or {"": "not recorded"}).items()))
    for one in parents(card):
        name, digest, data = one.get("model"), str(one.get("weights_sha256"))[:12], one.get("data")
        lines += [f"It was {one.get('role')} `{name}` (`{one.get('given')}`, sha256 {digest}…), whose data are:", ""]
        lines += _table(("", ""), list(data.items() if isinstance(data, Mapping) else {"": "not recorded"}.items()))
    return lines


def markdown(card: Mapping[str, Any], file: str = "") -> str:
    """The card for readers: limits first, how to run it, how good it is and how sure that is, data, recipe.

    ``file``: the model's own, as who stands beside the card would name it; "" = it is shipped and has a name.
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
    lines += ["## How to run", "", *_how_to_run(card, file or card["model"])]
    metrics = card.get("metrics") or {}
    lines += ["## Metrics", "", *(_by_set(metrics["sets"]) if metrics.get("sets") else _metrics(metrics))]
    if metrics.get("faults"):
        lines += ["What faults of a modality cost:", "", *_by_set(metrics["faults"])]
    if metrics.get("conditions"):
        lines += [str(metrics["conditions"]), ""]
    lines += ["## Training data", "", *_data(card)]
    recipe = card.get("recipe") or {}
    lines += ["## Recipe", ""]
    lines += _table(("", ""), list(recipe.items())) if recipe else ["Not recorded.", ""]
    if card.get("calibration"):
        lines += ["## Calibration", "", *_table(("", ""), list(card["calibration"].items()))]
    lines += ["## What it is", "", *_table(("", ""), facts)]
    return "\n".join(lines)
