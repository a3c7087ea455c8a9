"""``libmutualformer_plugin.so.json``: what a built plugin library is, sealed so that an altered record shows.

Written when the library is linked (plugins/compile/embed.py), read before it is mapped (plugins/library.py).
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

SEAL = "record_sha256"


@dataclass(frozen=True)
class Record:
    """``library``: its file name. ``sha256``: hex digest of its bytes. ``architectures``: those with cubins;
    ``kernels``: how many cubins, ``ptx``: how many PTX texts for younger GPUs. ``shim_sha256``: digest of
    libtensorrt_rtx.so beside it, "" where it was built without TensorRT-RTX."""

    library: str
    sha256: str
    plugin_version: str
    op_type: str
    architectures: tuple[int, ...]
    kernels: int
    ptx: int
    shim_sha256: str


def seal(data: Mapping[str, Any], key: str = SEAL) -> str:
    """sha256 of what ``data`` says apart from ``key``, however it is laid out."""
    content = {name: value for name, value in data.items() if name != key}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_path(library: Path) -> Path:
    """X.so → X.so.json."""
    return library.with_name(library.name + ".json")


def to_json(record: Record) -> bytes:
    """The record's file, sealed."""
    data = json.loads(json.dumps(asdict(record)))
    return (json.dumps({**data, SEAL: seal(data)}, indent=1) + "\n").encode()


def read(path: Path) -> Record:
    """Read a record. Raises OSError, or ValueError saying what is wrong with its content."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    missing = [f.name for f in fields(Record) if f.name not in data]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    if data.get(SEAL) != seal(data):
        raise ValueError(f"{SEAL} does not fit its content: it was altered or damaged")
    values = {f.name: data[f.name] for f in fields(Record)}
    for name in ("library", "sha256", "plugin_version", "op_type", "shim_sha256"):
        if not isinstance(values[name], str):
            raise ValueError(f"{name} is {values[name]!r}, expected a string")
    if not isinstance(values["architectures"], list) or not all(type(a) is int for a in values["architectures"]):
        raise ValueError(f"architectures is {values['architectures']!r}, expected a list of integers")
    for name in ("kernels", "ptx"):
        if type(values[name]) is not int:
            raise ValueError(f"{name} is {values[name]!r}, expected an integer")
    return Record(**{**values, "architectures": tuple(values["architectures"])})
