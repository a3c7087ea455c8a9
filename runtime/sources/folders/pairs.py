"""Two folders, or two files, whose pictures belong together by name: colour beside depth, or beside near-infrared."""

from __future__ import annotations

import logging
from pathlib import Path

from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.grammar import exists
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES
from mutualformer.runtime.sources.walk import Entry


def pairs(first: Path, second: Path, options: ReadOptions, nir: bool = False) -> FileFrames:
    """Frames of ``first`` (colour) and ``second`` (depth, or near-infrared with ``nir``), two files or two folders.

    Files of one frame are named alike, as everywhere: case, Unicode form and endings such as _color and _depth do not
    count. Names without a partner are left out, and that is said. Raises DataError.
    """
    for path in (first, second):
        if not exists(str(path)):
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
            left, kept = listing.twice[0]
            text = "%s: %d names are there twice; %s is taken and %s left out"
            log.warning(text, name, len(listing.twice), kept.name, left.name)
        if listing.other:
            log.warning("%s: %d files of %s are no images, left out", name, len(listing.other), listing.other[0].parent)
    common = first.parent if first.parent == second.parent else second
    return FileFrames(entries, options, name=name, root=common)


def _entry(colour: Path, other: Path, nir: bool) -> Entry:
    return Entry(colour.stem, colour, nir=other) if nir else Entry(colour.stem, colour, other)


def split_target(target: str) -> tuple[Path, Path]:
    """``A,B`` → A and B; where names hold commas, the only way to read it as two that exist. Raises DataError."""
    commas = [index for index, letter in enumerate(target) if letter == ","]
    ways = [(target[:index], target[index + 1 :]) for index in commas if 0 < index < len(target) - 1]
    real = [way for way in ways if all(exists(part) for part in way)]
    if not ways:
        raise DataError(f"pairs:{target}: expected two folders, pairs:RGB_DIR,DEPTH_DIR")
    if len(real) > 1:
        raise DataError(f"pairs:{target}: can be read as two folders in {len(real)} ways; rename one")
    first, second = real[0] if real else ways[0]
    return Path(first), Path(second)
