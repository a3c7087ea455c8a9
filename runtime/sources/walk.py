"""Finds photographs, pairs and data sets below a folder, in the order in which people count.

Links are followed, with a guard against loops. A folder that holds a data set (``RGB/ depth/ GT/``) is read as one,
wherever it lies below. Elsewhere the files of one frame are paired by their names (``names.part_of``): ``f1_color.png``
and ``f1_depth.png``, ``rgb.png`` beside ``depth.png``. Depth maps and masks are never taken for photographs. The walk
counts by kind what it leaves out, and reports that in one warning.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutualformer.runtime.files import open_regular
from mutualformer.runtime.sources.describe import open_lazily
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import (
    DEPTH_NAMES,
    MASK_NAMES,
    NO_PHOTOGRAPHS,
    RGB_NAMES,
    TEXT_SUFFIXES,
    is_rgbd,
    listings,
    part_of,
)
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES, MOST_BYTES, hidden, natural_key

# A tree with this many files and folders in a row and no picture is a home folder or a whole disk: stop there.
MOST_BARREN = 50_000
PREDICTED = ".predict"  # the folder by which ``predict`` knows its own output again


class Entry(NamedTuple):
    """The files of one frame. ``name``: without suffix, with the folders below the root. ``time``, ``depth_time``:
    seconds, where a list has them. ``nir``: a near-infrared picture instead of depth."""

    name: str
    colour: Path
    depth: Path | None = None
    mask: Path | None = None
    nir: Path | None = None
    time: float | None = None
    depth_time: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that this frame has."""
        return tuple(path for path in (self.colour, self.depth, self.mask, self.nir) if path is not None)


def walk(root: Path) -> list[Entry]:
    """Every picture, pair and data set below ``root``, in natural order; warns of what is left out.

    Raises DataError where it holds none.
    """
    entries: list[Entry] = []
    left_out: Counter[str] = Counter()  # kind → number of files that are no part of any entry
    for folder, files in _folders(root):
        prefix = folder.relative_to(root).as_posix().removeprefix(".")
        prefix = f"{prefix}/" if prefix else ""
        if is_rgbd(folder):
            _data_set(folder, prefix, entries, left_out)
        elif folder != root and folder.name.lower() in NO_PHOTOGRAPHS:
            left_out["files in folders of depth maps or masks"] += len(files)
        else:
            _pictures(folder, prefix, files, entries, left_out)
    rest = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()) if count)
    if not entries:
        raise DataError(
            f"{root}: holds no picture" + (f", but {rest}" if rest else "") + "; expected .jpg, .png, .webp …"
        )
    if rest:
        logging.getLogger("mutualformer").warning("%s: left out: %s", root, rest)
    # Names that differ in the suffix alone keep it.
    names = Counter(one.name for one in entries)
    return [one if names[one.name] == 1 else one._replace(name=f"{one.name}{one.colour.suffix}") for one in entries]


def has_picture(root: Path) -> bool:
    """Whether a file below ``root`` is named like a picture. Raises DataError for a tree too large to look through."""
    return any(Path(name).suffix.lower() in COLOUR_SUFFIXES for _, files in _folders(root) for name in files)


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below ``root`` once, with its files in natural order; of a data set only the folder itself.

    Left out: hidden files and folders, and what an earlier ``predict`` wrote (``predict photos --out photos/out``).
    """
    barren, seen = 0, set()  # the real paths of folders: a link may lead back to one that encloses it
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        real = os.path.realpath(name)
        if real in seen or (PREDICTED in folders and folder != root):
            folders.clear()
            continue
        seen.add(real)
        barren += 1 + len(files)
        if any(Path(file).suffix.lower() in COLOUR_SUFFIXES for file in files):
            barren = 0
        if barren > MOST_BARREN:
            raise DataError(f"{root}: {MOST_BARREN} files and folders without a picture, name a folder of pictures")
        # os.walk continues with what is left in this list.
        folders[:] = sorted((one for one in folders if not hidden(Path(one))), key=natural_key)
        yield folder, [file for file in sorted(files, key=natural_key) if not hidden(Path(file))]
        if is_rgbd(folder):
            folders[:] = [one for one in folders if not _is_part(one)]


def _is_part(name: str) -> bool:
    return name.lower() in {*RGB_NAMES, *DEPTH_NAMES, *MASK_NAMES, *NO_PHOTOGRAPHS}


def _data_set(folder: Path, prefix: str, entries: list[Entry], left_out: Counter[str]) -> None:
    """The frames of one data set; reading reports what a frame lacks."""
    listing, *others = listings(folder)
    depths, masks = (one.files if one is not None else {} for one in others)
    for stem, path in listing.files.items():
        entries.append(Entry(f"{prefix}{path.stem}", path, depths.get(stem), masks.get(stem)))
    left_out.update(map(_kind, listing.other))


def _pictures(folder: Path, prefix: str, files: list[str], entries: list[Entry], left_out: Counter[str]) -> None:
    """The photographs and pairs of a folder without a layout."""
    frames: dict[str, dict[str, list[Path]]] = {}
    for file in files:
        path = folder / file
        suffix = path.suffix.lower()
        if suffix not in DEPTH_SUFFIXES:
            if suffix not in TEXT_SUFFIXES:
                left_out[_kind(path)] += 1
            continue
        part = part_of(path)
        role = part.role or "colour"
        if role == "colour" and is_depth_map(path):
            role = "depth"
        # rgb.png beside depth.png and mask.png: one frame, each file named by its role alone
        alone = part.role and part_of(part.stem).role
        frames.setdefault("" if alone else part.stem, {}).setdefault(role, []).append(path)
    for parts in frames.values():
        _frame(parts, prefix, entries, left_out)


def _frame(parts: dict[str, list[Path]], prefix: str, entries: list[Entry], left_out: Counter[str]) -> None:
    colours, depths, masks = (parts.get(role, []) for role in ("colour", "depth", "mask"))
    if not colours:
        lone = [path for path in (*depths, *masks) if path.stem.lower().endswith("d") and not is_depth_map(path)]
        colours = [path for path in lone if not path.stem.lower().endswith("depth")]  # photo_d.jpg is a photograph
        if not colours:
            left_out["depth maps without a colour picture"] += len(depths)
            left_out["masks without a colour picture"] += len(masks)
            return
        depths = masks = []
    first, *others = colours
    depth, mask = (next(iter(paths), None) for paths in (depths, masks))
    entries.append(Entry(f"{prefix}{first.stem}", first, depth, mask))
    entries += [Entry(f"{prefix}{path.stem}", path) for path in others]


def _kind(path: Path) -> str:
    return f"{path.suffix.lower()} files"


def is_depth_map(path: Path) -> bool:
    """Whether a file is one channel of 16 bits or of floats, which no photograph is. Only the header is read."""
    suffix = path.suffix.lower()
    if suffix in (".npy", ".exr", ".pfm"):
        return True
    if suffix not in (".png", ".tif", ".tiff", ".pgm"):
        return False
    try:
        with open_regular(path, MOST_BYTES) as stream, open_lazily(stream) as image:
            return str(image.mode).startswith(("I", "F"))
    except (OSError, ValueError, SyntaxError):
        return False  # reading it later raises with the reason


def spread_over(count: int, most: int) -> list[int]:
    """Indices of at most ``most`` of ``count`` frames, evenly spread."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, most)).round())] if count else []
