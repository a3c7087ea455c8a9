"""A folder for each identity: ``ROOT/mug/1.jpg``, or pairs ``ROOT/mug/rgb/1.png`` beside ``ROOT/mug/nir/1.png``.

Nobody knows which camera took which picture, so every picture counts as one of its own: each asks, all others answer.
Without near-infrared that picture is black.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mutualformer.runtime.sources.folders.reid_folder import ReidData, ReidItem
from mutualformer.runtime.sources.frame import DataError, infrared
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import read_colour

Files = list[tuple[Path, Path | None]]


def pictures_of(folder: Path) -> Files:
    """(colour, near-infrared or None) of one identity; empty where the folder holds no picture."""
    colour = folder / "rgb" if (folder / "rgb").is_dir() else folder
    try:
        rgb = frames_in(colour).files
        nir = frames_in(folder / "nir").files if (folder / "nir").is_dir() else {}
    except DataError:
        return []
    if nir and not rgb.keys() <= nir.keys():
        missing = sorted(rgb.keys() - nir.keys())[0]
        raise DataError(f"{rgb[missing]}: has no near-infrared picture of its name in {folder / 'nir'}")
    return [(path, nir.get(name)) for name, path in rgb.items()]


def is_things(root: Path) -> bool:
    """Whether two folders or more below ``root`` hold pictures."""
    return root.is_dir() and sum(bool(pictures_of(path)) for path in root.iterdir() if path.is_dir()) > 1


def things(root: Path) -> ReidData:
    """The identities below ``root``, in the order of their names. Raises DataError."""
    listed = [
        (number, pair)
        for number, folder in enumerate(sorted(path for path in root.iterdir() if path.is_dir()))
        for pair in pictures_of(folder)
    ]

    def sample(index: int) -> ReidItem:
        identity, (colour, beside) = listed[index]
        rgb = read_colour(colour)
        nir = infrared(rgb, None if beside is None else read_colour(beside))
        return ReidItem(rgb, nir, identity, index, f"{colour.parent.name}/{colour.stem}")

    rows = np.arange(len(listed))
    return ReidData(sample, np.array([identity for identity, _ in listed]), rows, rows, rows)
