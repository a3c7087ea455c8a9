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

from mutualformer.plugins.files import parse_json, plain

SEAL = "record_sha256"
LARGEST_BYTES = 1 << 20


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
    data = plain(asdict(record))
    return (json.dumps({**data, SEAL: seal(data)}, indent=1) + "\n").encode()


def read(path: Path) -> Record:
    """Read a record. Raises OSError, or ValueError saying what is wrong with its content."""
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes, expected at most {LARGEST_BYTES}")
    data = parse_json(path.read_bytes())
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    missing = [f.name for f in fields(Record) if f.name not in data]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    if data.get(SEAL) != seal(data):
        raise ValueError(f"{SEAL} does not fit its content: it was altered or damaged")
    # A seal says that nothing was changed by accident, not who made it: every value in its type and range.
    for name in ("library", "sha256", "plugin_version", "op_type", "shim_sha256"):
        _expect(data, name, isinstance(data[name], str) and len(data[name]) <= 4096, "a string")
    for name, length in (("sha256", (64,)), ("shim_sha256", (0, 64))):
        digest = data[name]
        hexadecimal = len(digest) in length and not set(digest) - set("0123456789abcdef")
        _expect(data, name, hexadecimal, "a sha256 of 64 hexadecimal digits")
    known = isinstance(data["architectures"], list) and all(_count(a, 1000) for a in data["architectures"])
    _expect(data, "architectures", known, "a list of integers")
    for name in ("kernels", "ptx"):
        _expect(data, name, _count(data[name], 1_000_000), "an integer of at least 0")
    values = {f.name: data[f.name] for f in fields(Record)}
    return Record(**{**values, "architectures": tuple(values["architectures"])})


def _count(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _expect(data: Mapping[str, Any], name: str, fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {str(data[name])[:80]!r}, expected {expected}")
