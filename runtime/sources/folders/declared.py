"""Which unit a folder's own texts declare for its depth: ``camera.json``, ORB-SLAM's settings, a README.

A unit is a convention until somebody wrote it down. Only a number after a name that tools are known to write counts,
and only where all files that hold one agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mutualformer.runtime.files import read_regular

SUFFIXES = (".json", ".yaml", ".yml", ".txt", ".md", ".ini", ".cfg", ".toml")
LARGEST_BYTES = 64 << 10  # lists of pictures are longer
MOST_FILES = 50
# Names in use: ORB-SLAM's DepthMapFactor, Open3D's and RealSense's depth_scale, NICE-SLAM's png_depth_scale,
# Nerfstudio's depth_unit_scale_factor, camera.json's depth_scale_m. Replica's camera has just "scale", which may be
# anything.
NAMES = r"depth[ _-]?map[ _-]?factor|(?:png[ _-])?depth[ _-]?(?:scale|factor|units?)(?:[ _-](?:m|factor))?"
NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
DECLARATION = re.compile(rf"(?<![a-z])(?:{NAMES}|depth_unit_scale_factor)[\"']?\s*(?:[:=]|\bis\b)\s*({NUMBER})", re.I)
MOST_UNITS = 1e6  # per metre


def declared_scale(folders: Iterable[Path]) -> tuple[float, str] | None:
    """Metres per unit that the texts in ``folders`` declare and which of them ("as camera.json says").

    None where they declare nothing or contradict one another. A number above 1 is units per metre, one below is metres
    per unit; 1 itself declares nothing.
    """
    found: list[tuple[float, str]] = []
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.iterdir())[:MOST_FILES] if folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES:
                found += [(1 / units, f"as {path.name} says") for units in _units(path)]
    return found[0] if len({round(1 / scale, 6) for scale, _ in found}) == 1 else None


def _units(path: Path) -> list[float]:
    try:
        text = read_regular(path, LARGEST_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    numbers = [float(match[1]) for match in DECLARATION.finditer(text)]
    units = [number if number > 1 else 1 / number for number in numbers if number not in (0.0, 1.0)]
    return [value for value in units if 1 < value <= MOST_UNITS]
