"""TUM RGB-D folders: ``rgb.txt`` and ``depth.txt`` list ``timestamp path``; depth: 16-bit PNG, 5000 units per metre.

Colour and depth have their own timestamps and gaps. Each depth map is used at most once, by the colour image nearest
to it in time, within ``max_skew`` seconds: the benchmark's own association rule.
https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import BaseCamera, CameraError
from mutualformer.runtime.cameras.folders.loaders import DepthLoader, load_colour, note_orientation, same_size
from mutualformer.runtime.frame import Frame, Intrinsics

Entry = tuple[float, str]
UNITS_PER_METRE = 5000.0
LARGEST_LIST_BYTES = 256 << 20
TIME_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre, 0 = TUM's 5000. ``max_skew``: seconds. ``fx fy cx cy``: pixels, 0 = unknown.

    ``time``: unit of the timestamps, s, ms, us or ns; auto = seconds unless they can be none.
    """

    scale: float = 0.0
    max_skew: float = 0.02
    fx: float = 0.0
    fy: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    time: str = "auto"


def read_list(path: Path) -> list[Entry]:
    """``timestamp path`` per line, ``#`` starts a comment; sorted by time. Raises CameraError naming the line."""
    entries = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split("#", 1)[0].split(maxsplit=1)
        if not words:
            continue
        try:
            stamp = float(words[0])
        except ValueError:
            stamp = math.nan
        if len(words) != 2 or not math.isfinite(stamp):
            raise CameraError(f"{path}, line {number}: expected 'timestamp path', found {line.strip()[:100]!r}")
        name = words[1].strip()
        if PurePosixPath(name).is_absolute() or ".." in name.replace("\\", "/").split("/") or "\0" in name:
            raise CameraError(
                f"{path}, line {number}: {name[:100]!r} lies outside the folder, expected a path inside it"
            )
        entries.append((stamp, name))
    return sorted(entries)


def _text(path: Path) -> str:
    """A list's text: UTF-8 with or without a byte order mark, UTF-16 with one; other encodings of names survive."""
    try:
        if path.stat().st_size > LARGEST_LIST_BYTES:
            raise CameraError(f"{path}: is {path.stat().st_size >> 20} MiB, expected a list of images")
        data = path.read_bytes()
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from error
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
    return "ns" if gap >= 2e6 else "us" if gap >= 2e3 else "s"


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


class TumCamera(BaseCamera):
    """Reads one pair per call; a pair that cannot be read is left out and said in ``warnings``."""

    def __init__(self, folder: Path, options: Options) -> None:
        name = f"tum:{folder}"
        if options.scale < 0 or not math.isfinite(options.scale):
            raise CameraError(f"{name}: scale is {options.scale:g}, expected depth units per metre")
        if options.time not in ("auto", *TIME_UNITS):
            raise CameraError(f"{name}: time is {options.time!r}, expected auto, {', '.join(TIME_UNITS)}")
        lists = [folder / "rgb.txt", folder / "depth.txt"]
        for path in lists:
            if not path.is_file():
                raise CameraError(f"{name}: {path.name} is missing, expected a TUM RGB-D folder")
        units = options.scale or UNITS_PER_METRE
        super().__init__(name, live=False, depth_scale=1.0 / units)
        self.assumed_units = None if options.scale else units
        self._folder, self._options, self._next = folder, options, 0
        self._load_depth = DepthLoader(self, units, assumed=not options.scale).load
        colour, depth = (self._in_seconds(read_list(path)) for path in lists)
        self._pairs = associate(colour, depth, options.max_skew)
        if not self._pairs:
            raise CameraError(
                f"{name}: none of {len(colour)} colour and {len(depth)} depth images are within "
                f"{options.max_skew:g} s of each other; set ?max_skew=SECONDS, or ?time= if they are no seconds"
            )
        self.unpaired = len(colour) - len(self._pairs)
        if self.unpaired:
            self.warn(f"{name}: {self.unpaired} of {len(colour)} colour images have no depth in time, left out")

    def _in_seconds(self, entries: list[Entry]) -> list[Entry]:
        unit = self._options.time
        if unit == "auto":
            unit = time_unit([stamp for stamp, _ in entries])
            if unit != "s":
                self.warn(f"{self.name}: timestamps can be no seconds, read as {unit}; ?time= says otherwise")
        return [(stamp / TIME_UNITS[unit], name) for stamp, name in entries]

    def _path(self, name: str) -> Path:
        """The file a list names: as it stands, with Windows' separators, or without a third column behind it."""
        for text in (name, name.replace("\\", "/"), name.split()[0], name.split()[0].replace("\\", "/")):
            path = self._folder / os.fsdecode(os.fsencode(text))
            if path.is_file():
                return path
        return self._folder / name

    def read(self, timeout: float = 1.0) -> Frame | None:
        while self._next < len(self._pairs):
            (stamp, colour), (depth_stamp, depth) = self._pairs[self._next]
            self._next += 1
            began = time.perf_counter()
            try:
                colour_path, depth_path = self._path(colour), self._path(depth)
                rgb, metric = load_colour(colour_path), self._load_depth(depth_path)
                same_size(rgb, metric, colour_path, depth_path)
            except CameraError as error:
                self.leave_out(str(error))
                continue
            if self._next == 1:
                note_orientation(self, colour_path)
            if self.intrinsics is None and self._options.fx > 0:
                o = self._options
                self.intrinsics = Intrinsics(rgb.shape[1], rgb.shape[0], o.fx, o.fy or o.fx, o.cx, o.cy)
            self.busy_s = time.perf_counter() - began
            return Frame(rgb, metric, stamp, depth_stamp, self._next - 1)
        self.sum_up()
        return None


def open_source(target: str, given: Mapping[str, Any]) -> TumCamera:
    """``target``: the folder."""
    return TumCamera(Path(target), opts.parse(Options, given, f"tum:{target}"))
