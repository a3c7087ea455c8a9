"""The lists of TUM RGB-D folders: their lines, their unit of time, and which depth belongs to which colour."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path, PurePosixPath

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import list_text
from mutualformer.runtime.sources.pairing import Pairer, paired

Entry = tuple[float, str]
TIME_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
COMMENT = re.compile(r"(?:^|\s)#.*")


def read_list(path: Path) -> list[Entry]:
    """``timestamp path`` per line, ``#`` starts a comment; sorted by time. Raises DataError naming the line."""
    return sorted(_entry(line.split(maxsplit=1), where, "'timestamp path'") for where, line in _lines(path))


def read_associations(path: Path) -> list[tuple[Entry, Entry]]:
    """``timestamp colour timestamp depth`` per line, or depth first where its path says so; sorted by colour's time.

    Raises DataError naming the line.
    """
    expected = "'timestamp colour timestamp depth'"
    pairs = []
    for where, line in _lines(path):
        words = line.split()
        one, two = _entry(words[:2], where, expected), _entry(words[2:], where, expected)
        swapped = "depth" in one[1].lower() and "depth" not in two[1].lower()
        pairs.append((two, one) if swapped else (one, two))
    return sorted(pairs)


def _lines(path: Path) -> list[tuple[str, str]]:
    """(path and number, text) of the lines that hold more than a comment."""
    lines = ((number, COMMENT.sub("", line).strip()) for number, line in enumerate(list_text(path).splitlines(), 1))
    return [(f"{path}, line {number}", line) for number, line in lines if line]


def _entry(words: list[str], where: str, expected: str) -> Entry:
    try:
        stamp = float(words[0]) if len(words) == 2 else math.nan
    except ValueError:
        stamp = math.nan
    if not math.isfinite(stamp):
        raise DataError(f"{where}: expected {expected}, found {' '.join(words)[:100]!r}")
    name = words[1].strip()
    if PurePosixPath(name).is_absolute() or ".." in name.replace("\\", "/").split("/") or "\0" in name:
        raise DataError(f"{where}: {name[:100]!r} lies outside the folder, expected a path inside it")
    return stamp, name


def time_unit(stamps: list[float]) -> str:
    """The unit of timestamps by their size, as a date: seconds since 1970 are 1e9 today and 3e11 in the year 11476."""
    middle = abs(statistics.median(stamps)) if stamps else 0.0
    return next((unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11)) if middle >= least), "s")


def associate(colour: list[Entry], depth: list[Entry], max_skew: float) -> list[tuple[Entry, Entry]]:
    """One-to-one pairs in time order, none further apart than ``max_skew`` seconds. Both lists are sorted."""
    return list(paired(Pairer(max_skew), colour, depth))
