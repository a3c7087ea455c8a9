"""The model card: what a model was trained on and how, its metrics with their errors, and what it is not for.

The checkpoint's JSON (``train/checkpoint.py`` writes and checks it), the metadata of an ONNX file and the bundle share
this schema; :func:`markdown` makes the page for readers.

    model, task, input_size, params      which model of the registry this is, and how large
    overrides, architecture              its options, and all dimensions as they were when it was trained
    data, recipe                         what it was trained on, and every setting of the run
    metrics                              of one set ("data" names it) or of several ("sets")
    limits                               what it is not for, in sentences
    weights_sha256, git_revision, created, schema_version
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from mutualformer.runtime.contract import FILE, NAME, ContractError
from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import TASKS, TITLES
from mutualformer.runtime.untrusted.printable import printable
from mutualformer.runtime.untrusted.typed_json import Fields

LONGEST = 1 << 16  # characters of one text that are shown; our longest has about a thousand
MOST_ROWS = 1000  # of a table; our cards have a dozen
_MARKS = re.compile(r"[\\`\[\]<|]")  # marks that begin code, links, pictures, HTML or a table cell


def escaped(text: str) -> str:
    """Text of an untrusted card as one line of Markdown without active marks; what follows LONGEST is left out."""
    line = printable(" ".join(text[:LONGEST].split()))
    return _MARKS.sub(lambda mark: "&lt;" if mark[0] == "<" else "\\" + mark[0], line)


def _paragraph(text: str) -> list[str]:
    """``text`` on a line of its own, where it must not begin a heading, a list, a fence or a header."""
    return [re.sub(r"^([#>+=~-])", r"\\\1", escaped(text)), ""]


def parents(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models that a card's model was trained from, nearest first; an untrusted card may hold anything there."""
    value = card.get("parents")
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []


# A card travels with a model from hand to hand, and anybody can write one. Everything below treats its text as text:
# escaped for Markdown, one line, of limited length; numbers are checked before they are formatted.
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
        return ", ".join(f"{escaped(str(key))} {_cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return "–" if value is None or value == "" else escaped(str(value))


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return [*tables.markdown(header, [[_cell(cell) for cell in row] for row in rows]).splitlines(), ""]


def _part(values: Fields, key: str) -> Fields:
    """The object at ``key``; an empty one where it is missing or null."""
    # null and a missing key mean the same, so that older cards are read without a case of their own.
    part = Fields({}, values.where, values.error) if values.get(key) is None else values.fields(key)
    if len(part) > MOST_ROWS:
        raise values.refuse(key, f"at most {MOST_ROWS} entries")
    return part


def _by_set(sets: Mapping[str, Fields]) -> list[str]:
    """The metrics of each set, a row each, with the standard error of each mean in brackets."""
    if not sets:
        return ["Not evaluated.", ""]
    names = [name for name in TITLES if any(name in metrics for metrics in sets.values())]
    rows: list[tuple[Any, ...]] = []
    for data, metrics in sets.items():
        errors = _part(metrics, "standard_error")
        cells = [" ".join((_number(metrics, name, "{}"), _number(errors, name, "(±{})"))).strip() for name in names]
        rows.append((data, *cells, metrics.get("images", "")))
    lines = _table(("set", *(TITLES[name] for name in names), "pictures"), rows)
    known = any("standard_error" in metrics for metrics in sets.values())
    return [*lines, *(["In brackets: the standard error of each mean.", ""] if known else [])]


def _number(values: Fields, key: str, form: str) -> str:
    """The number at ``key`` to three digits; empty where there is none. Raises the card's error."""
    return "" if values.get(key) is None else form.format(f"{values.number(key, -1e12, 1e12):.3f}")


# The YAML header that model hubs read.
_HEADER = "---\nlicense: apache-2.0\nlibrary_name: mutualformer\npipeline_tag: {}\ntags:\n- onnx\n- tensorrt\n{}---\n"
_HUB = {
    "sod": ("image-segmentation", "- salient-object-detection\n- rgb-d\n- background-removal\n"),
    "reid": ("image-feature-extraction", "- re-identification\n- rgb-nir\n"),
}
_RUN = {
    "sod": """\
```sh
mutualformer predict photo.jpg --model {0} --out out     # mask, cut-out, overlay
mutualformer stream realsense:// --model {0}             # a camera, live
```

```python
import mutualformer

model = mutualformer.load("{0}")
mutualformer.predict(model, "photo.jpg").save("out")
```
""",
    "reid": """\
```sh
mutualformer predict reid:FOLDER --model {0} --out out     # features, matches
```
""",
}


def _data(card: Fields) -> list[str]:
    """What it was trained on, and what the models were that it is made of: their data are its data too."""
    # A model begun from another's weights, or taught by it, has seen that model's data too; its terms may apply.
    lines = _table(("", ""), (_part(card, "data") or {"": "not recorded"}).items())
    for one in parents(card):
        name, role, given = (escaped(str(one.get(key))) for key in ("model", "role", "given"))
        data, digest = one.get("data"), escaped(str(one.get("weights_sha256"))[:12])
        lines += [f"It was {role} {name} ({given}, sha256 {digest}…), whose data are:", ""]
        lines += _table(("", ""), (data if isinstance(data, Mapping) and data else {"": "not recorded"}).items())
    return lines


def markdown(card: Mapping[str, Any], file: str = "") -> str:
    """The card for readers: limits first, how to run it, how good it is and how sure that is, data, recipe.

    ``file``: the model's own, as who stands beside the card would name it; "" = it is shipped and has a name.
    ``card["picture"]``, where there is one, names an image beside the card. Raises ContractError naming the key whose
    value is of another type than ours: an untrusted file may hold any card.
    """
    card = Fields(card, "model card", ContractError)
    name, task = card.text("model", form=NAME), card.text("task", one_of=tuple(TASKS))
    picture = card.text("picture", "", form=FILE)
    kept = ("input_size", "params", "overrides", "weights_sha256", "git_revision", "created")
    facts = [("task", TASKS[task].title), *((key.replace("_", " "), card.get(key)) for key in kept)]
    lines = [_HEADER.format(*_HUB[task]), f"# {name}", ""]
    if picture:
        lines += [f"![what {name} sees]({picture})", ""]
    # Limits come before numbers: a reader who stops early has read what the model is not for.
    lines += ["## Limits", "", *_paragraph(card.text("limits", "", longest=LONGEST) or "Not stated.")]
    lines += ["## How to run", "", _RUN[task].format(printable(file) or name)]
    metrics = _part(card, "metrics")
    sets = {data: _part(metrics, "sets").fields(data) for data in _part(metrics, "sets")}
    if metrics and not sets:
        sets = {metrics.text("data", "unknown data"): metrics}
    lines += ["## Metrics", "", *_by_set(sets)]
    if metrics.get("conditions"):
        lines += _paragraph(metrics.text("conditions"))
    recipe, calibration = (_part(card, key) for key in ("recipe", "calibration"))
    lines += ["## Training data", "", *_data(card)]
    recipe_lines = _table(("", ""), recipe.items()) if recipe else ["Not recorded.", ""]
    lines += ["## Recipe", "", *recipe_lines]
    if calibration:
        lines += ["## Calibration", "", *_table(("", ""), calibration.items())]
    lines += ["## What it is", "", *_table(("", ""), facts)]
    return "\n".join(lines)
