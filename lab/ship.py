"""Put a model on the shelf: copy the file, hash it, and write its entry from the card inside it.

python -m lab.ship sod-lite.onnx [--weights sod-lite.safetensors] [--shelf DIR]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mutualformer.plugins.files import plain
from mutualformer.runtime.card import markdown
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.files import replacing, sha256, write_bytes, write_json
from mutualformer.runtime.tasks import TITLES
from mutualformer.runtime.zoo.index import INDEX, SCHEMA, ShippedModel, own_shelf, read_index


def scores_of(card: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The card's metrics by set: ``{"duts_te": {"s_measure": 0.91, …}}``.

    A card holds them flat with ``data`` beside (one set), or set by set, alone or under ``sets``.
    """
    metrics = card.get("metrics") or {}
    flat = any(key in TITLES for key in metrics)
    sets = {str(metrics.get("data", "unknown")): metrics} if flat else metrics.get("sets") or metrics
    scores = {
        name: {key: float(value) for key, value in values.items() if key in TITLES}
        for name, values in sets.items()
        if isinstance(values, Mapping)
    }
    return {name: values for name, values in scores.items() if values}


def _terms(card: Mapping[str, Any]) -> str:
    """What it was trained on, in one line."""
    data = card.get("data") or {}
    terms = "; ".join(f"{key}: {value}" for key, value in data.items() if isinstance(value, str))
    return textwrap.shorten(terms, 500, placeholder=" …")


def ship(onnx: Path, folder: Path, weights: Path | None = None) -> ShippedModel:
    """Copy ``onnx`` (and ``weights``) into ``folder`` under the model's name; returns the new entry.

    An entry of the same name is replaced. The card goes beside it as JSON and as Markdown.
    Raises ModelFileError when the file is no model of ours.
    """
    from mutualformer.runtime.session import load

    with load(onnx, device="cpu") as session:
        contract = session.contract
    folder.mkdir(parents=True, exist_ok=True)
    name, copies = contract.model, {f"{contract.model}.onnx": onnx}
    if weights is not None:
        copies[f"{name}.safetensors"] = weights
    for target, source in copies.items():
        with replacing(folder / target) as beside:
            shutil.copyfile(source, beside)
    write_json(folder / f"{name}.json", plain(contract.card))
    if contract.card:
        write_bytes(folder / f"{name}.md", markdown(contract.card).encode())
    entry = ShippedModel(
        name=name,
        file=f"{name}.onnx",
        sha256=sha256(folder / f"{name}.onnx"),
        bytes=(folder / f"{name}.onnx").stat().st_size,
        task=contract.task,
        precision=contract.precision,
        input_size=contract.input_size,
        parameters=int(contract.card.get("params", 0)),
        data=_terms(contract.card),
        scores=scores_of(contract.card),
        weights=f"{name}.safetensors" if weights is not None else "",
        weights_sha256=sha256(folder / f"{name}.safetensors") if weights is not None else "",
        folder=folder,
    )
    others = [other for other in read_index(folder) if other.name != name]
    models = [one.to_json() for one in sorted([*others, entry], key=lambda one: one.bytes)]
    write_json(folder / INDEX, {"schema": SCHEMA, "models": models})
    return entry


def parser() -> argparse.ArgumentParser:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="ship", description="Put a model on the shelf of shipped models.")
    parser.add_argument("onnx", type=Path, metavar="FILE.onnx")
    parser.add_argument("--weights", type=Path, metavar="FILE.safetensors", help="FP16 weights for `fit --init NAME`")
    parser.add_argument("--shelf", type=Path, metavar="DIR", help="default: the package's own models folder")
    return parser


def command(args: argparse.Namespace) -> int:
    """Run :func:`ship` and say what was written."""
    entry = ship(args.onnx, args.shelf or own_shelf(), args.weights)
    print(f"{entry.path}: {entry.name}, {entry.bytes / 1e6:.1f} MB, sha256 {entry.sha256}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
