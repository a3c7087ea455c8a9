"""``libmutualformer_plugin.so.json``: the record of a built plugin library, with a hash that reveals changes.

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

from mutualformer.plugins.files import parse_json, plain

SEAL = "record_sha256"


@dataclass(frozen=True)
class Record:
    """``library``: its file name. ``sha256``: hex digest of its bytes. ``architectures``: those with cubins;
    ``kernels``: how many cubins, ``ptx``: how many PTX texts for newer GPUs. ``shim_sha256``: digest of
    libtensorrt_rtx.so beside it, "" where it was built without TensorRT-RTX."""

    library: str
    sha256: str
    plugin_version: str
    architectures: tuple[int, ...]
    kernels: int
    ptx: int
    shim_sha256: str


def seal(data: Mapping[str, Any], key: str = SEAL) -> str:
    """sha256 of ``data`` without ``key``, independent of order and layout."""
    content = {name: value for name, value in data.items() if name != key}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_path(library: Path) -> Path:
    """X.so → X.so.json."""
    return library.with_name(library.name + ".json")


def to_json(record: Record) -> bytes:
    """The record's file, sealed."""
    data = plain(asdict(record))
    return (json.dumps({**data, SEAL: seal(data)}, indent=1) + "\n").encode()


def read(path: Path) -> Record:
    """Read a record. Raises OSError, or ValueError for invalid content."""
    data = parse_json(path.read_bytes())
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    missing = [f.name for f in fields(Record) if f.name not in data]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    if data.get(SEAL) != seal(data):
        raise ValueError(f"{SEAL} does not fit its content: it was altered or is corrupt")
    values = {f.name: data[f.name] for f in fields(Record)}
    return Record(**{**values, "architectures": tuple(values["architectures"])})
