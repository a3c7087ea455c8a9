"""The findings of a check of a dataset: one line each, with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.sources.folders.survey import MUST, SHOULD, Remark, named
from mutualformer.runtime.sources.pictures import read_bytes


def grouped(level: str, kind: str, names: Sequence[str], problem: str, remedy: str) -> list[Remark]:
    """One finding for all files with the same problem, naming the first; none for no files."""
    if not names:
        return []
    return [Remark(level, kind, f"{named(names)}: {problem}", remedy, len(names))]


@dataclass(frozen=True)
class Fingerprint:
    """One picture: sha256 of its file. ``place``: which split or folder it is of."""

    name: str
    place: str
    content: str


def fingerprint(path: Path, place: str) -> Fingerprint:
    """The fingerprint of the file at ``path``. Raises DataError."""
    return Fingerprint(path.name, place, hashlib.sha256(read_bytes(path)).hexdigest())


def duplicates(prints: Sequence[Fingerprint]) -> list[Remark]:
    """Equal files: between places they must be fixed, within one be looked at."""
    equal: dict[tuple[str, str], list[str]] = {}
    first_of: dict[str, Fingerprint] = {}
    for one in prints:
        before = first_of.setdefault(one.content, one)
        if before is not one:
            equal.setdefault((before.place, one.place), []).append(f"{before.name} = {one.name}")
    findings: list[Remark] = []
    for (here, there), names in equal.items():
        where = f"in {here}" if here == there else f"in {here} and {there}"
        level = SHOULD if here == there else MUST
        remedy = "remove one of each pair" if here == there else "a split must not hold what another one has"
        findings += grouped(level, "duplicate", names, f"duplicate pictures {where}", remedy)
    return findings
