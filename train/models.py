"""``mutualformer models``: what is shipped and loaded by name, and what can be trained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.tasks import TITLES
from mutualformer.train import registry


def catalogue() -> list[dict[str, Any]]:
    """One entry a model, shipped ones first: name, task, input size, shipped, and what the shelf knows of it."""
    shipped = {entry.name: entry for entry in zoo.shelf()}
    entries: list[dict[str, Any]] = [
        {**entry.to_json(), "path": str(entry.path), "shipped": True, "default": entry.name == zoo.DEFAULT}
        for entry in shipped.values()
    ]
    for name in registry.list_models():
        if name not in shipped:
            spec = registry.spec(name)
            size = list(spec.input_size)
            entries.append({"name": name, "task": spec.task, "input_size": size, "shipped": False, "default": False})
    return entries


def scores(entry: Mapping[str, Any]) -> str:
    """``duts_te: S-measure 0.912, maximum F 0.921``; empty where nothing was measured."""
    sets = entry.get("scores") or {}
    return "; ".join(
        f"{name}: " + ", ".join(f"{TITLES.get(metric, metric)} {value:.3f}" for metric, value in values.items())
        for name, values in sets.items()
    )


def text(entries: Sequence[Mapping[str, Any]]) -> str:
    """For people."""
    rows = [["MODEL", "TASK", "INPUT", "PARAMETERS", "FILE", "HOW TO USE IT"]]
    for entry in entries:
        height, width = entry["input_size"]
        count, size, name = entry.get("parameters"), entry.get("bytes"), entry["name"]
        use = f"--model {name}" if entry["shipped"] else f"train it: mutualformer fit {name} --data …"
        use += " (the default)" if entry["default"] else ""
        counts = [f"{count / 1e6:.2f} M" if count else "", f"{size / 1e6:.1f} MB" if size else ""]
        rows.append([name, entry["task"], f"{width}×{height}", *counts, use])
    lines = []
    for entry, line in zip([{}, *entries], aligned(rows).splitlines(), strict=True):
        about = filter(None, (scores(entry), entry.get("data", ""), entry.get("path", "")))
        lines += [line, *(f"{'':<18} {text}" for text in about)]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = verb_parser("models", "Shipped and registered models.")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def command(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    entries = catalogue()
    print(json.dumps(entries, indent=1) if args.json else text(entries))
    return 0


main = verb(parser, command)
