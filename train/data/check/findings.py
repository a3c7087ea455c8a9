"""What a check of a dataset found: sentences, one line of what to do for each kind of fault, equal pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mutualformer.runtime.sources.folders.survey import MUST, SHOULD, Remark, named
from mutualformer.runtime.sources.pictures import read_bytes


@dataclass
class Report:
    """``strips``: what a contact sheet shows, None where none is drawn. ``prints``: each picture's name, the split or
    folder it is of, and the sha256 of its file."""

    strips: list[tuple[str, bytes]] | None = None
    lines: list[str] = field(default_factory=list)
    findings: list[Remark] = field(default_factory=list)
    prints: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, level: str, kind: str, names: Sequence[str], problem: str, remedy: str) -> None:
        """Add one finding for all files with the same problem, naming the first; none for no files."""
        if names:
            self.findings.append(Remark(level, kind, f"{named(names)}: {problem}", remedy, len(names)))

    def print_of(self, path: Path, place: str) -> None:
        """Keep the print of the picture at ``path``. Raises DataError."""
        self.prints.append((path.name, place, hashlib.sha256(read_bytes(path)).hexdigest()))

    def compare(self) -> None:
        """Find equal files: between places they must be fixed, within one be looked at."""
        equal: dict[tuple[str, str], list[str]] = {}
        first_of: dict[str, tuple[str, str, str]] = {}
        for one in self.prints:
            before = first_of.setdefault(one[2], one)
            if before is not one:
                equal.setdefault((before[1], one[1]), []).append(f"{before[0]} = {one[0]}")
        for (here, there), names in equal.items():
            if here == there:
                self.add(SHOULD, "duplicate", names, f"duplicate pictures in {here}", "remove one of each pair")
            else:
                remedy = "a split must not hold what another one has"
                self.add(MUST, "duplicate", names, f"duplicate pictures in {here} and {there}", remedy)
