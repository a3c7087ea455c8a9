"""A folder of models: ``index.json`` and the files that it names, each with its size and sha256.

Shipped models lie in the package's own folder ``models``; ``$MUTUALFORMER_MODELS`` names another folder, which is
searched first (a company's own models, a test's). A file that the index does not name is ignored.

    {"schema": 1, "models": [{"name": "sod-lite", "file": "sod-lite.onnx", "sha256": "…", "bytes": 8123456,
      "task": "sod", "precision": "fp16", "input_size": [320, 320], "parameters": 4012345, "data": "DUTS-TR, …",
      "scores": {"duts_te": {"s_measure": 0.91}}, "weights": "sod-lite.safetensors", "weights_sha256": "…"}]}
"""

from __future__ import annotations

import importlib.resources
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mutualformer.errors import ModelError
from mutualformer.runtime.contract import FILE, MAX_SIDE, NAME, PRECISIONS
from mutualformer.runtime.files import sha256
from mutualformer.runtime.session.base import LARGEST_MODEL
from mutualformer.runtime.tasks import TASKS
from mutualformer.runtime.untrusted.typed_json import Fields, read_json

SCHEMA = 1
INDEX = "index.json"
DIGEST = re.compile(r"[0-9a-f]{64}")


class ModelNameError(ModelError, RuntimeError):
    """No model has this name, or its file differs from what the index promises."""


@dataclass(frozen=True)
class ShippedModel:
    """One entry of an index. ``folder`` is where its files lie.

    ``bytes``: size of the ONNX file. ``input_size``: (height, width) in pixels. ``parameters``: their number.
    ``data``: what it was trained on and under which terms. ``scores``: set → metric → value, as on its card.
    ``weights``: FP16 safetensors to start a training from, "" where there are none.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    task: str
    precision: str
    input_size: tuple[int, int]
    parameters: int = 0
    data: str = ""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: str = ""
    weights_sha256: str = ""
    folder: Path = Path()

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / self.file

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without the folder, which is where the index lies."""
        entry = asdict(self)
        del entry["folder"]
        return entry


def own_shelf() -> Path:
    """The folder of the models that come with the package."""
    return Path(str(importlib.resources.files("mutualformer"))) / "models"


def shelves() -> list[Path]:
    """Folders with an index, in the order of search: ``$MUTUALFORMER_MODELS``, then the package's own."""
    variable = os.environ.get("MUTUALFORMER_MODELS")
    return [*([Path(variable)] if variable else []), own_shelf()]


def _entry(folder: Path, data: Fields) -> ShippedModel:
    """One checked entry. Raises ValueError."""
    data.only(*(each.name for each in fields(ShippedModel) if each.name != "folder"))

    scores = data.fields("scores", {})
    sets = {name: scores.fields(name) for name in scores}
    height, width = data.wholes("input_size", 2, 1, MAX_SIDE)
    return ShippedModel(
        name=data.text("name", form=NAME),
        file=data.text("file", form=FILE),
        sha256=data.text("sha256", form=DIGEST),
        bytes=data.whole("bytes", 1, LARGEST_MODEL),
        task=data.text("task", one_of=tuple(TASKS)),
        precision=data.text("precision", one_of=PRECISIONS),
        input_size=(height, width),
        parameters=data.whole("parameters", 0, LARGEST_MODEL, 0),
        data=data.text("data", ""),
        scores={name: {key: values.number(key, -1e9, 1e9) for key in values} for name, values in sets.items()},
        weights=data.text("weights", "", form=FILE),
        weights_sha256=data.text("weights_sha256", "", form=DIGEST),
        folder=folder,
    )


def read_index(folder: Path) -> list[ShippedModel]:
    """The entries of ``folder``; none where it holds no index. Raises ModelNameError where it is corrupt."""
    path = folder / INDEX
    if not path.is_file():
        return []
    try:
        index = read_json(path, ValueError, "index of models")
        index.whole("schema", SCHEMA, SCHEMA)
        return [_entry(folder, Fields(entry, "models", ValueError)) for entry in index.objects("models")]
    except ValueError as error:
        raise ModelNameError(f"{path}: not a readable index of models ({error}); install the package again") from error


def shelf() -> list[ShippedModel]:
    """Every shipped model, each name once; an earlier folder wins."""
    entries: dict[str, ShippedModel] = {}
    for folder in shelves():
        for entry in read_index(folder):
            entries.setdefault(entry.name, entry)
    return list(entries.values())


def shipped(name: str) -> ShippedModel | None:
    """The entry of that name, or None."""
    return next((entry for entry in shelf() if entry.name == name), None)


def checked(path: Path, expected: str) -> Path:
    """``path`` when it exists and its sha256 is ``expected``. Raises ModelNameError."""
    again = "install the package again"
    if not path.is_file():
        raise ModelNameError(f"{path}: missing although the index beside it names it; {again}")
    digest = sha256(path)
    if digest != expected:
        what = f"sha256 is {digest[:12]}…, the index expects {expected[:12]}…"
        raise ModelNameError(f"{path}: {what}: the file was changed or cut short; {again}")
    return path
