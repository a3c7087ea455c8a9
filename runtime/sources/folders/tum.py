"""TUM RGB-D folders: ``rgb.txt`` and ``depth.txt`` list ``timestamp path``; depth: 16-bit PNG, 5000 units per metre.

Colour and depth have their own timestamps and gaps. Each depth map is used at most once, by the colour image nearest
to it in time, within ``max_skew`` seconds: the benchmark's own association rule. Without these lists
``associations.txt`` is read, whose lines are ``timestamp colour timestamp depth``.
https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.depth_range import KINECT_FAR_M
from mutualformer.runtime.sources.folders.loaders import (
    DepthLoader,
    load_colour,
    note_orientation,
    same_size,
    settle_units,
)
from mutualformer.runtime.sources.folders.tum_lists import (
    TIME_UNITS,
    Entry,
    associate,
    in_seconds,
    read_associations,
    read_list,
    time_unit,
)
from mutualformer.runtime.sources.frame import Frame, Intrinsics

UNITS_PER_METRE = 5000.0
# What people call the list of pairs that the benchmark's associate.py writes.
ASSOCIATIONS = ("associations.txt", "association.txt", "associate.txt", "associated.txt")


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre, 0 = TUM's 5000. ``max_skew``: seconds. ``fx fy cx cy``: pixels, 0 = unknown.

    A scale that a text in the folder declares (camera.json, DepthMapFactor) goes before TUM's.
    ``time``: unit of the timestamps, s, ms, us or ns; auto = seconds unless they can be none.
    """

    scale: float = 0.0
    max_skew: float = 0.02
    fx: float = 0.0
    fy: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    time: str = "auto"


class TumCamera(BaseCamera):
    """Reads one pair per call; a pair that cannot be read is left out and said in ``warnings``."""

    def __init__(self, folder: Path, options: Options) -> None:
        name = f"tum:{folder}"
        if options.scale < 0 or not math.isfinite(options.scale):
            raise CameraError(f"{name}: scale is {options.scale:g}, expected depth units per metre")
        if options.time not in ("auto", *TIME_UNITS):
            raise CameraError(f"{name}: time is {options.time!r}, expected auto, {', '.join(TIME_UNITS)}")
        super().__init__(name, live=False)
        self._folder, self._options, self._next = folder, options, 0
        self._pairs = self._read_pairs(folder)
        units = settle_units(name, options.scale, [folder], UNITS_PER_METRE)  # of what is known to be such a folder
        self.depth_scale = 1.0 / units.per_metre
        self.assumed_units = units.per_metre if units.assumed else None
        self.sensor_far_m = KINECT_FAR_M
        self._load_depth = DepthLoader(self, units).load

    def _read_pairs(self, folder: Path) -> list[tuple[Entry, Entry]]:
        """From the two lists, else from the list of associations. Raises CameraError."""
        lists = [folder / "rgb.txt", folder / "depth.txt"]
        missing = next((path.name for path in lists if not path.is_file()), None)
        if missing is not None:
            together = associations(folder)
            if together is None:
                raise CameraError(f"{self.name}: {missing} is missing, expected a TUM RGB-D folder")
            pairs = read_associations(together)
            if not pairs:
                raise CameraError(f"{together}: lists no images")
            colour, depth = (self._in_seconds([pair[side] for pair in pairs]) for side in (0, 1))
            return list(zip(colour, depth, strict=True))
        colour, depth = (self._in_seconds(read_list(path)) for path in lists)
        pairs = associate(colour, depth, self._options.max_skew)
        if not pairs:
            raise CameraError(
                f"{self.name}: none of {len(colour)} colour and {len(depth)} depth images are within "
                f"{self._options.max_skew:g} s of each other; set ?max_skew=SECONDS, or ?time= if they are no seconds"
            )
        if len(pairs) < len(colour):
            left = len(colour) - len(pairs)
            self.warn(f"{self.name}: {left} of {len(colour)} colour images have no depth in time, left out")
        return pairs

    def _in_seconds(self, entries: list[Entry]) -> list[Entry]:
        unit = self._options.time
        if unit == "auto":
            unit = time_unit([stamp for stamp, _ in entries])
            if unit != "s":
                self.warn(f"{self.name}: timestamps can be no seconds, read as {unit}; ?time= says otherwise")
        return in_seconds(entries, unit)

    def _path(self, name: str) -> Path:
        """The file a list names: as it stands, with Windows' separators, or without a third column behind it."""
        for text in (name, name.replace("\\", "/"), name.split()[0], name.split()[0].replace("\\", "/")):
            path = self._folder / os.fsdecode(os.fsencode(text))
            if path.is_file():
                return path
        return self._folder / name

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; times are those of the lists. Pairs that cannot be read are left out."""
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


def associations(folder: Path) -> Path | None:
    """The folder's list of pairs, None where it has none."""
    return next((folder / name for name in ASSOCIATIONS if (folder / name).is_file()), None)


def is_tum(folder: Path) -> bool:
    """True where a folder holds both lists, or the list of pairs."""
    lists = (folder / "rgb.txt").is_file() and (folder / "depth.txt").is_file()
    return lists or associations(folder) is not None


def open_source(target: str, query: Mapping[str, Any]) -> TumCamera:
    """``target``: the folder."""
    return TumCamera(Path(target), opts.parse(Options, query, f"tum:{target}"))
