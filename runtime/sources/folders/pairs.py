"""Two folders, or two files, whose pictures belong together by name: colour beside depth, or beside near-infrared."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES
from mutualformer.runtime.sources.walk import Entry


@dataclass(frozen=True)
class PairOptions(ReadOptions):
    """``nir``: the second folder holds near-infrared pictures instead of depth."""

    nir: bool = False


def pairs(first: Path, second: Path, options: ReadOptions) -> FileFrames:
    """Frames of ``first`` (colour) and ``second`` (depth, or what ``options`` say), two files or two folders.

    Files of one frame are named alike, as everywhere: case, Unicode form and endings such as _color and _depth do not
    count. Names without a partner are left out with a warning. Raises DataError.
    """
    nir = isinstance(options, PairOptions) and options.nir
    for path in (first, second):
        if not os.path.exists(path):
            raise DataError(f"{path}: no such file or folder")
    if first.is_file() and second.is_file():
        return FileFrames([_entry(first, second, nir)], options, name=str(second))
    if not (first.is_dir() and second.is_dir()):
        raise DataError(f"{first} and {second}: expected two files or two folders")
    colour, other = frames_in(first), frames_in(second, COLOUR_SUFFIXES if nir else DEPTH_SUFFIXES)
    entries = [_entry(path, other.files[stem], nir) for stem, path in colour.files.items() if stem in other.files]
    if not entries:
        raise DataError(f"{first} and {second}: no file name occurs in both folders")
    log, name = logging.getLogger("mutualformer"), f"pairs:{first},{second}"
    single = len(colour.files.keys() ^ other.files.keys())
    if single:
        log.warning("%s: %d images have no partner of the same name, left out", name, single)
    for listing in (colour, other):
        if listing.twice:
            text = "%s: %d names are there twice; %s is left out and %s taken"
            log.warning(text, name, len(listing.twice), *(path.name for path in listing.twice[0]))
        for sentence in listing.unread():
            log.warning("%s", sentence)
    common = first.parent if first.parent == second.parent else second
    return FileFrames(entries, options, name=name, root=common)


def _entry(colour: Path, other: Path, nir: bool) -> Entry:
    return Entry(colour.stem, colour, nir=other) if nir else Entry(colour.stem, colour, other)


def split_target(target: str) -> tuple[Path, Path]:
    """``A,B`` → A and B; where names hold commas, the first way to read it as two that exist. Raises DataError."""
    commas = [index for index, letter in enumerate(target) if letter == ","]
    ways = [(target[:index], target[index + 1 :]) for index in commas if 0 < index < len(target) - 1]
    if not ways:
        raise DataError(f"pairs:{target}: expected two folders, pairs:RGB_DIR,DEPTH_DIR")
    first, second = next((way for way in ways if all(map(os.path.exists, way))), ways[0])
    return Path(first), Path(second)
