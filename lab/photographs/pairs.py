"""Two folders beside each other, ``RGB/`` and another, whose files belong together by name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import RGB_NAMES, find_folder, frames_in, one_file_a_frame
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES


class Pairs(NamedTuple):
    """``names`` of the frames that both folders hold, sorted; name → file in ``rgb`` and in ``other``."""

    names: list[str]
    rgb: dict[str, Path]
    other: dict[str, Path]


def pairs(root: Path, title: str, spellings: tuple[str, ...], suffixes: tuple[str, ...] = COLOUR_SUFFIXES) -> Pairs:
    """The frames of ``root``; ``spellings``: how the folder ``title`` may be called, ``suffixes``: its files' endings.

    Raises DataError for a missing folder, two files of one frame, or no frame in both.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with RGB/ and {title}/ in it")
    colour, second = find_folder(root, RGB_NAMES), find_folder(root, spellings)
    if colour is None or second is None:
        raise DataError(f"{root}: expected the folders RGB/ and {title}/ in it")
    rgb, other = one_file_a_frame(frames_in(colour)), one_file_a_frame(frames_in(second, suffixes))
    names = sorted(set(rgb) & set(other))
    if not names:
        raise DataError(f"{root}: no picture of RGB/ has a file of its name in {title}/")
    return Pairs(names, rgb, other)
