"""TUM RGB-D folders: ``rgb.txt`` and ``depth.txt`` list ``timestamp path``; depth: 16-bit PNG, 0.0002 m per unit.

Colour and depth have their own timestamps and gaps. Each depth map is used at most once, by the colour image nearest
to it in time, within ``max_skew`` seconds. Without these lists the program reads ``associations.txt``, whose lines are
``timestamp colour timestamp depth``. https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.folders.tum_lists import (
    TIME_UNITS,
    associate,
    read_associations,
    read_list,
    time_unit,
)
from mutualformer.runtime.sources.folders.tum_lists import Entry as Line
from mutualformer.runtime.sources.frame import DataError, Intrinsics
from mutualformer.runtime.sources.pictures import read_picture
from mutualformer.runtime.sources.walk import Entry

DEPTH_SCALE = 0.0002
# What people call the list of pairs that the benchmark's associate.py writes.
ASSOCIATIONS = ("associations.txt", "association.txt", "associate.txt", "associated.txt")
log = logging.getLogger("mutualformer")


@dataclass(frozen=True)
class TumOptions(ReadOptions):
    """``max_skew``: seconds. ``time``: unit of the timestamps, s, ms, us or ns; auto: seconds, unless their size rules
    seconds out. ``fx fy cx cy``: pixels, 0 = unknown."""

    max_skew: float = 0.02
    time: str = "auto"
    fx: float = 0.0
    fy: float = 0.0
    cx: float = 0.0
    cy: float = 0.0


def tum(folder: Path, how: TumOptions) -> FileFrames:
    """The pairs of a TUM folder in time order; a scale that a text in it declares goes first. Raises DataError."""
    if how.time not in ("auto", *TIME_UNITS):
        raise DataError(f"tum:{folder}: time is {how.time!r}, expected auto, {', '.join(TIME_UNITS)}")
    entries = [
        Entry(Path(colour).stem, _path(folder, colour), _path(folder, depth), time=stamp, depth_time=depth_stamp)
        for (stamp, colour), (depth_stamp, depth) in _pairs(folder, how)
    ]
    lens = None
    if how.fx > 0:
        height, width = read_picture(entries[0].colour).rgb.shape[:2]
        lens = Intrinsics(width, height, how.fx, how.fy or how.fx, how.cx, how.cy)
    return FileFrames(entries, how, name=f"tum:{folder}", root=folder, usual_scale=DEPTH_SCALE, intrinsics=lens)


def _pairs(folder: Path, how: TumOptions) -> list[tuple[Line, Line]]:
    """From the two lists, else from the list of associations."""
    lists = [folder / "rgb.txt", folder / "depth.txt"]
    missing = next((path.name for path in lists if not path.is_file()), None)
    together = associations(folder)
    if missing is None:
        colour, depth = (_in_seconds(read_list(path), folder, how) for path in lists)
        pairs = associate(colour, depth, how.max_skew)
    elif together is not None:
        listed = read_associations(together)
        colour, depth = (_in_seconds([pair[side] for pair in listed], folder, how) for side in (0, 1))
        pairs = list(zip(colour, depth, strict=True))
    else:
        raise DataError(f"tum:{folder}: {missing} is missing, expected a TUM RGB-D folder")
    if not pairs:
        raise DataError(
            f"tum:{folder}: none of {len(colour)} colour and {len(depth)} depth images are within {how.max_skew:g} s "
            "of each other; set ?max_skew=SECONDS, or ?time= if their times are not in seconds"
        )
    if left := len(colour) - len(pairs):
        log.warning("tum:%s: %d of %d colour images have no depth at their time, left out", folder, left, len(colour))
    return pairs


def _in_seconds(lines: list[Line], folder: Path, how: TumOptions) -> list[Line]:
    unit = how.time
    if unit == "auto":
        unit = time_unit([stamp for stamp, _ in lines])
        if unit != "s":
            log.warning("tum:%s: timestamps cannot be seconds, read as %s; ?time= overrules", folder, unit)
    return [(stamp / TIME_UNITS[unit], name) for stamp, name in lines]


def _path(folder: Path, name: str) -> Path:
    """The file that a list names: as written, or with Windows' separators and without a third column after it."""
    path = folder / name
    # Path.is_file raises for a name that is too long; os.path does not.
    return path if os.path.isfile(path) else folder / name.split()[0].replace("\\", "/")


def associations(folder: Path) -> Path | None:
    """The folder's list of pairs, None where it has none."""
    return next((folder / name for name in ASSOCIATIONS if (folder / name).is_file()), None)


def is_tum(folder: Path) -> bool:
    """True where a folder holds both lists, or the list of pairs."""
    lists = (folder / "rgb.txt").is_file() and (folder / "depth.txt").is_file()
    return lists or associations(folder) is not None
