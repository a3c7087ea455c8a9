"""The lists of TUM RGB-D folders: their lines, their unit of time, and which depth belongs to which colour."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import re
import statistics
from pathlib import Path, PurePosixPath

from mutualformer.runtime.sources.frame import DataError

Entry = tuple[float, str]
LARGEST_LIST_BYTES = 256 << 20
TIME_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# Half an hour or more between two frames of a camera is no gap in seconds: 2 ms and more in the smaller unit.
LEAST_GAP = {"ns": 2e6, "us": 2e3}
COMMENT = re.compile(r"(?:^|\s)#")


def read_list(path: Path) -> list[Entry]:
    """``timestamp path`` per line, ``#`` starts a comment; sorted by time. Raises DataError naming the line."""
    entries = []
    for number, line in _lines(path):
        words = line.split(maxsplit=1)
        entries.append(_entry(words, path, number, "'timestamp path'"))
    return sorted(entries)


def read_associations(path: Path) -> list[tuple[Entry, Entry]]:
    """``timestamp colour timestamp depth`` per line, or depth first where its path says so; sorted by colour's time.

    Raises DataError naming the line.
    """
    expected = "'timestamp colour timestamp depth'"
    pairs = []
    for number, line in _lines(path):
        words = line.split()
        if len(words) != 4:
            raise DataError(f"{path}, line {number}: expected {expected}, found {line[:100]!r}")
        one, two = _entry(words[:2], path, number, expected), _entry(words[2:], path, number, expected)
        swapped = "depth" in one[1].lower() and "depth" not in two[1].lower()
        pairs.append((two, one) if swapped else (one, two))
    return sorted(pairs)


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines that hold more than a comment."""
    lines = (
        (number, COMMENT.split(line, maxsplit=1)[0].strip()) for number, line in enumerate(_text(path).splitlines(), 1)
    )
    return [(number, line) for number, line in lines if line]


def _entry(words: list[str], path: Path, number: int, expected: str) -> Entry:
    try:
        stamp = float(words[0])
    except ValueError:
        stamp = math.nan
    if len(words) != 2 or not math.isfinite(stamp):
        raise DataError(f"{path}, line {number}: expected {expected}, found {' '.join(words)[:100]!r}")
    name = words[1].strip()
    if PurePosixPath(name).is_absolute() or ".." in name.replace("\\", "/").split("/") or "\0" in name:
        raise DataError(f"{path}, line {number}: {name[:100]!r} lies outside the folder, expected a path inside it")
    return stamp, name


def in_seconds(entries: list[Entry], unit: str) -> list[Entry]:
    """Times divided by their unit, one of :data:`TIME_UNITS`."""
    return [(stamp / TIME_UNITS[unit], name) for stamp, name in entries]


def _text(path: Path) -> str:
    """A list's text: UTF-8 with or without a byte order mark, UTF-16 with one; other encodings of names survive."""
    try:
        if path.stat().st_size > LARGEST_LIST_BYTES:
            raise DataError(f"{path}: is {path.stat().st_size >> 20} MiB, expected a list of images")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def time_unit(stamps: list[float]) -> str:
    """The unit of timestamps (sorted), by their size (a date) or else their distance (two frames of a camera).

    Seconds since 1970 are 1e9 today and 3e11 in the year 11476; frames lie 1 ms to half an hour apart.
    """
    middle = abs(statistics.median(stamps)) if stamps else 0.0
    for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11)):
        if middle >= least:
            return unit
    gaps = [after - before for before, after in itertools.pairwise(stamps) if after > before]
    gap = statistics.median(gaps) if gaps else 0.0
    return next((unit for unit, least in LEAST_GAP.items() if gap >= least), "s")


def associate(colour: list[Entry], depth: list[Entry], max_skew: float) -> list[tuple[Entry, Entry]]:
    """One-to-one pairs in time order, closest pairs first, none further apart than ``max_skew`` seconds.

    Both lists are sorted. Each colour image waits in a queue with the nearest depth map that is still free, so memory
    stays linear whatever the timestamps are.
    """
    stamps = [stamp for stamp, _ in depth]
    count = len(stamps)
    right, left = list(range(count + 1)), list(range(count + 1))  # the next free one from here on, and before here

    def free(links: list[int], at: int) -> int:
        root = at
        while links[root] != root:
            root = links[root]
        while links[at] != root:
            links[at], at = root, links[at]
        return root

    def nearest(index: int) -> tuple[float, int, int] | None:
        stamp = colour[index][0]
        place = bisect.bisect_left(stamps, stamp)
        options = []
        if (after := free(right, place)) < count:
            options.append((abs(stamps[after] - stamp), index, after))
        if (before := free(left, place) - 1) >= 0:
            first = free(right, bisect.bisect_left(stamps, stamps[before]))  # of several at that very time
            options.append((abs(stamps[first] - stamp), index, first))
        best = min(options, default=None)
        return best if best is not None and best[0] <= max_skew else None

    queue = [entry for entry in map(nearest, range(len(colour))) if entry is not None]
    heapq.heapify(queue)
    taken = [False] * count
    pairs = []
    while queue:
        _, i, j = heapq.heappop(queue)
        if taken[j]:
            if (again := nearest(i)) is not None:
                heapq.heappush(queue, again)
            continue
        taken[j] = True
        right[j], left[j + 1] = j + 1, j
        pairs.append((i, j))
    return [(colour[i], depth[j]) for i, j in sorted(pairs)]
