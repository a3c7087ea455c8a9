"""ReID datasets: what one is, RGBN300-style folders, synthetic identities, and the query/gallery split.

RGBN300-style folders hold ``bounding_box_train/``, ``query/`` and ``bounding_box_test/`` (one of them is enough where
only that part is needed); a file is named ``IDENTITY_cCAMERA…`` and holds its spectra side by side, RGB first and NIR
second (two or three parts of equal width, as RGBN300 and RGBNT100 ship them). The three may lie in a subfolder
``rgbir/``, as those two have it. The seams between the spectra show how many a file holds; a file of 3 : 1 may be
three squares or two of 3 : 2, and where the pictures do not settle it, the user must say (``?spectra=2``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import frames_in
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.sources.scenes.cache import render
from mutualformer.runtime.sources.scenes.identities import SyntheticIdentities
from mutualformer.runtime.sources.walk import spread_over

FILE_NAME = re.compile(r"^(?P<identity>-?[0-9]{1,9})_c(?:am)?(?P<camera>[0-9]{1,9})", re.IGNORECASE)
SPLITS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


class ReidItem(NamedTuple):
    """``rgb``, ``nir`` uint8 (H, W, 3); ``identity`` and ``camera`` as labelled."""

    rgb: NDArray[np.uint8]
    nir: NDArray[np.uint8]
    identity: int
    camera: int
    name: str


@dataclass(frozen=True)
class ReidData:
    """Samples with their labels; ``query`` and ``gallery`` are indices into them for evaluation."""

    samples: Any  # index → ReidItem
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    query: NDArray[np.int64]
    gallery: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, index: int) -> ReidItem:
        item: ReidItem = self.samples(index)
        return item


def synthetic(source: SyntheticIdentities) -> ReidData:
    """The first view of every identity by every camera asks, all views answer."""
    located = np.array([source.locate(index) for index in range(len(source))])
    arrays = render(source)

    def sample(index: int) -> ReidItem:
        rgb, nir = (np.array(arrays[name][index]) for name in ("rgb", "nir"))
        identity, camera, view = source.locate(index)
        return ReidItem(rgb, nir, identity, camera, f"{identity}_c{camera}_{view}")

    query = np.flatnonzero(located[:, 2] == 0)
    return ReidData(sample, located[:, 0], located[:, 1], query, np.arange(len(source)))


def is_reid(folder: Path) -> bool:
    """Whether ``folder`` holds one of the parts of a ReID set."""
    return any((folder / part).is_dir() for part in SPLITS.values())


def find_root(root: Path) -> Path:
    """Where the parts of a ReID set lie: ``root`` or its subfolder rgbir."""
    below = root / "rgbir"
    return below if not is_reid(root) and is_reid(below) else root


def _files(folder: Path) -> list[tuple[Path, int, int]]:
    """Files of one part with identity and camera; identity -1 is junk by convention and left out. Raises DataError."""
    entries = []
    for path in frames_in(folder, frame_of=lambda path: path.name).files.values():
        match = FILE_NAME.match(path.name)
        if match is None:
            raise DataError(f"{path}: expected a name with identity and camera, like 0001_c2_….jpg")
        if int(match["identity"]) >= 0:
            entries.append((path, int(match["identity"]), int(match["camera"])))
    if not entries:
        raise DataError(f"{folder}: holds no image, expected files like 0001_c2_….jpg")
    return entries


# Roughness of a column, as a multiple of the 8 columns on either side of it. From SEAM on two spectra meet there, below
# NO_SEAM they do not. A count is accepted if its seams are CLEAR times as rough as those of another count: edges inside
# an enlarged picture are sharp too, but less so.
SEAM, NO_SEAM, CLEAR = 2.0, 1.5, 4.0
SEAM_FILES = 32
# Number of pictures side by side → where the seams lie that fewer pictures would not have.
SEAMS = {2: (1 / 2,), 3: (1 / 3, 2 / 3), 4: (1 / 4, 3 / 4)}


def _seam(image: NDArray[np.uint8], share: float) -> float:
    """How much more the picture changes at ``share`` of its width than within 8 columns of it."""
    column = round(share * image.shape[1])
    strip = image[:, max(0, column - 8) : column + 8].astype(np.float32)
    steps = np.abs(np.diff(strip, axis=1)).mean(axis=(0, 2))
    at = min(column, 8) - 1
    rest = np.delete(steps, at)
    return float(steps[at] / max(float(rest.mean()), 1.0)) if rest.size else 1.0


def count_spectra(files: Sequence[Path]) -> int:
    """Whether files hold two or three pictures side by side. Raises DataError where the pictures do not settle it, and
    where they hold one or more than three."""
    seams: dict[int, list[float]] = {2: [], 3: [], 4: []}
    squares = []
    for index in spread_over(len(files), SEAM_FILES):
        try:
            image = read_colour(files[index])
        except DataError:
            continue  # reported when the file is asked for
        squares.append(image.shape[1] == 2 * image.shape[0])
        for parts, values in seams.items():
            # A count whose seams are no whole columns is impossible: it counts as roughness 0.
            whole = image.shape[1] % parts == 0
            values.append(min(_seam(image, share) for share in SEAMS[parts]) if whole else 0.0)
    half, third, quarter = (float(np.median(values)) if values else 0.0 for values in seams.values())
    if half >= SEAM and max(third, quarter) < max(NO_SEAM, half / CLEAR):
        return 2
    if third >= SEAM and half < max(NO_SEAM, third / CLEAR):
        return 3
    if all(squares):
        return (
            2  # two squares, or none that can be read: as three they would be taller than wide, as in none of the sets
        )
    raise DataError(
        f"{files[0].parent}: the files show no seams of two or three spectra side by side, RGB, then NIR; "
        "append ?spectra=2 or ?spectra=3"
    )


def read_spectra(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB and NIR, (H, W, 3) uint8 each, from one file with ``count`` spectra side by side. Raises DataError."""
    image = read_colour(path)
    width = image.shape[1] // count
    if not width or width * count != image.shape[1]:
        raise DataError(
            f"{path}: is {image.shape[1]} pixels wide, expected {count} spectra of equal width side by side"
        )
    rgb, nir = (np.ascontiguousarray(image[:, i * width : (i + 1) * width]) for i in range(2))
    return rgb, nir


def folder(root: Path, split: str, spectra: int = 0) -> ReidData:
    """``split``: "train", or "test" = query + bounding_box_test. ``spectra``: pictures in a file, 0 = look."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with bounding_box_train, query, bounding_box_test")
    root, parts = find_root(root), {}
    for part in ("train",) if split == "train" else ("query", "gallery"):
        place = root / SPLITS[part]
        if not place.is_dir():
            raise DataError(f"{place}: no such folder, expected it for the {split} split of {root.name}")
        parts[part] = _files(place)
    listed = [entry for part in parts.values() for entry in part]
    count = spectra or count_spectra([path for path, *_ in listed])

    def sample(index: int) -> ReidItem:
        path, identity, camera = listed[index]
        rgb, nir = read_spectra(path, count)
        return ReidItem(rgb, nir, identity, camera, path.stem)

    queries = np.arange(len(parts["query"])) if split == "test" else np.arange(0)
    answers = np.arange(len(queries), len(listed)) if split == "test" else np.arange(0)
    identities = np.array([identity for _, identity, _ in listed])
    return ReidData(sample, identities, np.array([camera for *_, camera in listed]), queries, answers)
