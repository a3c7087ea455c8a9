"""Photographs as they come: single files, whole folder trees, with or without a depth map beside. No ground truth."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.depth import DEFAULT_RULE, DepthRule, is_relative, read_stored_depth, to_metres
from mutualformer.runtime.sources.folders.item import DataError, Item
from mutualformer.runtime.sources.folders.polarity import spread_over
from mutualformer.runtime.sources.folders.survey import FRAMES, Survey
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, ImageError, hidden, natural_key, read_colour, turned


@dataclass(frozen=True)
class Picture:
    """``name``: without suffix, with the folders below the tree's root. ``depth``: its depth map's file, if any."""

    name: str
    colour: Path
    depth: Path | None = None


class Pictures:
    """Frames of ``pictures``. A lone photograph is turned upright by its EXIF tag; a pair is read as stored.

    ``has_depth``: whether every one of them has a depth map. ``root``: the folder they lie in, where there is one.
    ``assumption``: by which unit depth is read where nobody said it, once :meth:`judge` has looked.
    """

    def __init__(self, pictures: Sequence[Picture], rule: DepthRule = DEFAULT_RULE, root: Path | None = None) -> None:
        if not pictures:
            raise DataError("no picture is named, expected at least one")
        self.root = root
        self.pictures, self.rule = list(pictures), rule
        self.assumption = ""
        self.has_depth = all(picture.depth is not None for picture in pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """The name of frame ``index``, without reading it."""
        return self.pictures[index].name

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that frame ``index`` is read from."""
        picture = self.pictures[index]
        return (picture.colour,) if picture.depth is None else (picture.colour, picture.depth)

    def __getitem__(self, index: int) -> Item:
        picture = self.pictures[index]
        try:
            rgb = read_colour(picture.colour, upright=picture.depth is None)
            if picture.depth is None:
                return Item(rgb, np.zeros(rgb.shape[:2], np.float32), None, picture.name)
            stored = read_stored_depth(picture.depth)
        except ImageError as error:
            raise DataError(str(error)) from error
        stored = self._unit_of_bytes(stored)
        if stored.shape != rgb.shape[:2]:
            raise DataError(
                f"{picture.depth}: is {stored.shape[1]}×{stored.shape[0]}, expected {rgb.shape[1]}×{rgb.shape[0]} as "
                f"{picture.colour.name} (depth must be aligned to the colour picture, both as stored)"
            )
        return Item(rgb, to_metres(stored, self.rule), None, picture.name, not is_relative(stored, self.rule))

    def _unit_of_bytes(self, stored: NDArray[Any]) -> NDArray[Any]:
        """8-bit maps as integers with a unit where the user says that they have one."""
        return stored.astype(np.uint16) if stored.dtype == np.uint8 and self.rule.units_per_metre else stored

    def judge(self) -> list[str]:
        """What does not fit the way in which the depth maps are read, one sentence each, as for data sets; holes that
        most maps mark alike are read as such from now on."""
        stated = self.rule.units_per_metre is not None or self.rule.relative
        survey = Survey(self.rule, stated)
        for index in spread_over(len(self.pictures), FRAMES):
            picture = self.pictures[index]
            if picture.depth is None:
                continue
            try:
                stored = read_stored_depth(picture.depth)
            except ImageError:
                continue  # told when it is asked for
            survey.add(self._unit_of_bytes(stored), None, picture.name)
            survey.turned += turned((picture.colour, picture.depth))
        if self.rule.hole is None and survey.hole is not None:
            self.rule = replace(self.rule, hole=survey.hole)
        self.assumption = survey.assumption
        return [f"{remark.what}: {REMEDIES.get(remark.kind, remark.remedy)}" for remark in survey.remarks()]


# What mends it where there is no DATA whose options could.
REMEDIES = {
    "unit": "if the unit is another give metres per unit: 0.0002 (TUM), 0.0001, 0.01 (cm), 0.00390625 (KITTI); for "
    "maps without a unit their polarity",
    "polarity": "give the polarity if it is not as it is read: near_bright or near_dark",
    "hole": "read as holes",
    "white": "read as a distance; make it 0 if it is no measurement",
}
# A tree that shows no picture in so many files is none of pictures: a home folder, a whole disk.
MOST_BARREN = 50_000
PREDICTED = ".predict"  # the folder by which ``predict`` knows its own output again


def walk(root: Path) -> Iterator[Path]:
    """Every picture file below ``root``, folder by folder in natural order.

    Left out: hidden files and folders, and what an earlier ``predict`` wrote (``predict photos --out photos/out``).
    Raises DataError where :data:`MOST_BARREN` files and folders in a row hold none.
    """
    barren = 0
    for folder, folders, files in os.walk(root):
        barren += 1 + len(files)
        if barren > MOST_BARREN:
            raise DataError(f"{root}: {MOST_BARREN} files and folders without a picture, name a folder of pictures")
        if PREDICTED in folders and Path(folder) != root:
            folders.clear()
            continue
        folders[:] = sorted((name for name in folders if not hidden(Path(name))), key=natural_key)
        for name in sorted(files, key=natural_key):
            if Path(name).suffix.lower() in COLOUR_SUFFIXES and not hidden(Path(name)):
                barren = 0
                yield Path(folder, name)


def tree(root: Path) -> Pictures:
    """The photographs below ``root``. Names keep their folders; where two differ in the suffix alone they keep it."""
    paths = list(walk(root))
    if not paths:
        raise DataError(f"{root}: holds no picture, expected {', '.join(COLOUR_SUFFIXES[:8])} … in it or below")
    names = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    count_of: dict[str, int] = {}
    for name in names:
        count_of[name] = count_of.get(name, 0) + 1
    return Pictures(
        [
            Picture(name if count_of[name] == 1 else path.relative_to(root).as_posix(), path)
            for name, path in zip(names, paths, strict=True)
        ],
        root=root,
    )
