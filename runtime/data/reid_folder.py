"""ReID datasets: what one is, RGBN300-style folders, synthetic identities, and the query/gallery split.

RGBN300-style folders hold ``bounding_box_train/``, ``query/`` and ``bounding_box_test/`` (one of them is enough where
only that part is needed); a file is named ``IDENTITY_cCAMERA…`` and holds its spectra side by side, RGB first and NIR
second (two or three parts of equal width, as RGBN300 and RGBNT100 ship them). The three may lie in a subfolder
``rgbir/``, as those two have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.data.folder import SUFFIXES, read_rgb
from mutualformer.runtime.data.item import DataError
from mutualformer.runtime.data.scenes.cache import render
from mutualformer.runtime.data.scenes.identities import SyntheticIdentities

FILE_NAME = re.compile(r"^(?P<identity>-?\d+)_c(?P<camera>\d+)", re.IGNORECASE)
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


def synthetic(source: SyntheticIdentities, cache: bool = True) -> ReidData:
    """The first view of every identity by every camera asks, all views answer."""
    located = np.array([source.locate(index) for index in range(len(source))])
    arrays = render(source) if cache else None

    def sample(index: int) -> ReidItem:
        found = {key: value[index] for key, value in arrays.items()} if arrays else source.sample(index)
        identity, camera, view = (int(value) for value in located[index])
        return ReidItem(
            np.array(found["rgb"]), np.array(found["nir"]), identity, camera, f"{identity}_c{camera}_{view}"
        )

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
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        match = FILE_NAME.match(path.name)
        if match is None:
            raise DataError(f"{path}: expected a name like 0001_c2_….jpg that tells identity and camera")
        if int(match["identity"]) >= 0:  # -1 is junk by convention
            found.append((path, int(match["identity"]), int(match["camera"])))
    if not found:
        raise DataError(f"{folder}: holds no image, expected files like 0001_c2_….jpg")
    return found


def read_spectra(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB and NIR, (H, W, 3) uint8 each, from one file with two or three spectra side by side. Raises DataError."""
    image = read_rgb(path)
    count = 3 if image.shape[1] % 3 == 0 and image.shape[1] >= 3 * image.shape[0] else 2
    width = image.shape[1] // count
    if width * count != image.shape[1]:
        raise DataError(f"{path}: is {image.shape[1]} pixels wide, expected spectra of equal width side by side")
    rgb, nir = (np.ascontiguousarray(image[:, i * width : (i + 1) * width]) for i in range(2))
    return rgb, nir


def folder(root: Path, split: str) -> ReidData:
    """``split``: "train", or "test" = query + bounding_box_test."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with bounding_box_train, query, bounding_box_test")
    root, parts = find_root(root), {}
    for part in ("train",) if split == "train" else ("query", "gallery"):
        place = root / SPLITS[part]
        if not place.is_dir():
            raise DataError(f"{place}: no such folder, expected it for the {split} split of {root.name}")
        parts[part] = _files(place)
    listed = [entry for part in parts.values() for entry in part]

    def sample(index: int) -> ReidItem:
        path, identity, camera = listed[index]
        rgb, nir = read_spectra(path)
        return ReidItem(rgb, nir, identity, camera, path.stem)

    asked = np.arange(len(parts["query"])) if split == "test" else np.arange(0)
    answers = np.arange(len(asked), len(listed)) if split == "test" else np.arange(0)
    identities = np.array([identity for _, identity, _ in listed])
    return ReidData(sample, identities, np.array([camera for *_, camera in listed]), asked, answers)


def open_reid(
    text: str, kind: str, body: str, options: dict[str, str], size: tuple[int, int] | None, split: str = "test"
) -> ReidData:
    """DATA for the ReID task: ``synthetic:IDENTITIES[?seed=S]``, a folder, or ``reid:ROOT/NAME``."""
    unknown = sorted(set(options) - ({"seed"} if kind == "synthetic" else {"split"}))
    if unknown or kind in ("sample", "rgbd"):
        raise DataError(
            f"data {text!r}: expected synthetic:IDENTITIES[?seed=S], an RGBN300-style folder or reid:ROOT/NAME for ReID"
        )
    split = options.get("split", split)
    if kind == "synthetic":
        if not body.isdigit() or not options.get("seed", "0").isdigit():
            raise DataError(f"data {text!r}: expected whole numbers, as in synthetic:100?seed=1")
        return synthetic(SyntheticIdentities(int(body), int(options.get("seed", "0")), size or (128, 128)))
    if kind == "reid":
        from mutualformer.runtime.data import sets

        root, _, name = body.rpartition("/")
        if name.lower() not in sets.SETS or sets.SETS[name.lower()].task != "reid":
            raise DataError(f"data {text!r}: {name!r} is no ReID set, expected rgbn300 or rgbnt100")
        return folder(sets.locate(Path(root or "."), name.lower(), split)[0], split)
    return folder(Path(body), split)
