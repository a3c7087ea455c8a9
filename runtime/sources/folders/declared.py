"""Which unit a folder's own texts declare for its depth: ``camera.json``, ORB-SLAM's settings, a README.

A unit is a convention until somebody wrote it down. What tools write beside the pictures is read, never what they
might have meant: one number behind a known name, the same in all files that have one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mutualformer.runtime.sources.grammar import exists

SUFFIXES = (".json", ".yaml", ".yml", ".txt", ".md", ".ini", ".cfg", ".toml")
LARGEST_BYTES = 64 << 10  # lists of pictures are longer
MOST_FILES = 50
# Names in use: ORB-SLAM's DepthMapFactor, Open3D's and RealSense's depth_scale, NICE-SLAM's png_depth_scale,
# Nerfstudio's depth_unit_scale_factor, camera.json's depth_scale_m. Replica's camera has just "scale", which may be
# anything.
NAMES = r"depth[ _-]?map[ _-]?factor|(?:png[ _-])?depth[ _-]?(?:scale|factor|units?)(?:[ _-](?:m|factor))?"
NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
DECLARATION = re.compile(rf"(?<![a-z])(?:{NAMES}|depth_unit_scale_factor)[\"']?\s*(?:[:=]|\bis\b)\s*({NUMBER})", re.I)
FINEST, COARSEST = 1e6, 1.0  # units per metre


class Declared(NamedTuple):
    """Metres per unit of depth, and the file that says so."""

    depth_scale: float
    file: Path

    def __str__(self) -> str:
        return f"depth_scale={self.depth_scale:g}, as {self.file.name} says"


def declared_scale(folders: Iterable[Path]) -> Declared | None:
    """What the texts in ``folders`` say, None where they say nothing or contradict one another.

    A number of at least 1 is units per metre, one below is metres per unit; 1 itself says nothing.
    """
    said: list[Declared] = []
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.iterdir())[:MOST_FILES] if exists(str(folder)) and folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= LARGEST_BYTES:
                said += [Declared(1 / units, path) for units in _units(path)]
    values = {round(1 / one.depth_scale, 6) for one in said}
    return said[0] if len(values) == 1 else None


def _units(path: Path) -> list[float]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    numbers = [float(match[1]) for match in DECLARATION.finditer(text)]
    units = [number if number > 1 else 1 / number for number in numbers if number not in (0.0, 1.0)]
    return [value for value in units if COARSEST < value <= FINEST]
