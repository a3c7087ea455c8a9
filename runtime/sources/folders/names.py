"""How the files of RGB-D sets are named and listed: which folder is what, which files belong to one frame."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mutualformer.runtime.sources.folders.item import DataError
from mutualformer.runtime.sources.pictures import (
    COLOUR_SUFFIXES,
    DEPTH_SUFFIXES,
    ImageError,
    Listing,
    list_images,
    natural_key,
)

RGB_NAMES: tuple[str, ...] = (
    "rgb",
    "rgbs",
    "image",
    "images",
    "img",
    "imgs",
    "color",
    "colour",
    "left",
    "rgb_left",
    "im",
)
RGB_NAMES += ("train_images", "test_images")  # as DUT-RGBD ships
DEPTH_NAMES: tuple[str, ...] = (
    "depth",
    "depths",
    "depth_map",
    "depth_maps",
    "depthmap",
    "d",
    "train_depth",
    "test_depth",
)
MASK_NAMES: tuple[str, ...] = (
    "gt",
    "gts",
    "mask",
    "masks",
    "groundtruth",
    "ground_truth",
    "label",
    "labels",
    "annotation",
)
MASK_NAMES += ("train_masks", "test_masks", "ground_truth_mask", "groundtruth_mask")
# RGB sets call their folders after themselves: DUTS-TR-Image, DUTS-TE-Mask, DUT-OMRON-image, pixelwiseGT-new-PNG.
RGB_ENDING = re.compile(r"[-_ ](images?|imgs?|rgb)$")
MASK_ENDING = re.compile(r"[-_ ](masks?|gts?|ground[-_]?truth)$|^pixelwisegt")
SUFFIXES = tuple(sorted({*COLOUR_SUFFIXES, *DEPTH_SUFFIXES}))
ENDINGS = ("_depth_bin", "_depth", "-depth", "_d", "_gt", "-gt", "_mask", "_rgb", "_left", "_right")


def find_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The subfolder of ``root`` whose name, in any case, is the first of ``names`` there is; then, for colour and
    ground truth, the only one that ends as RGB sets have it."""
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    first = next((there[name] for name in names if name in there), None)
    ending = {RGB_NAMES: RGB_ENDING, MASK_NAMES: MASK_ENDING}.get(names)
    if first is None and ending is not None:
        alike = [path for name, path in there.items() if ending.search(name)]
        first = alike[0] if len(alike) == 1 else None
    return first


def is_rgbd(folder: Path) -> bool:
    """Whether ``folder`` has colour, and depth or ground truth beside it."""
    return find_folder(folder, RGB_NAMES) is not None and (
        find_folder(folder, DEPTH_NAMES) is not None or find_folder(folder, MASK_NAMES) is not None
    )


def stem_of(name: Path | str) -> str:
    """What the files of one frame have in common: the name without an image's suffix, case and endings ``_Depth`` …

    ``frame.1`` has no suffix: only those of images are taken off.
    """
    path = Path(name)
    text = path.stem if path.suffix.lower() in SUFFIXES else path.name
    stem = unicodedata.normalize("NFC", text).lower()
    while ending := next((e for e in ENDINGS if stem.endswith(e) and len(stem) > len(e)), ""):
        stem = stem[: -len(ending)]
    return stem


def frames_in(folder: Path, suffixes: tuple[str, ...] = COLOUR_SUFFIXES) -> Listing:
    """Frame → file of the images in ``folder``, in natural order. Raises DataError."""
    try:
        return list_images(folder, suffixes, stem_of)
    except ImageError as error:
        raise DataError(str(error)) from error


def one_file_a_frame(listing: Listing) -> dict[str, Path]:
    """Frame → file. Raises DataError when two files share a frame."""
    if listing.twice:
        one, kept = listing.twice[0]
        raise DataError(f"{one}: is named like {kept.name}, expected one file per frame in {listing.folder}")
    return listing.files


def find_list(root: Path, split: str) -> Path | None:
    """The file beside the image folders that names the frames of ``split``: train.txt, NJU2K_train.lst, …"""
    spelled = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".txt", ".lst") and p.is_file()]
    return next((p for p in spelled if p.stem.lower() == split or p.stem.lower().endswith(f"_{split}")), None)


def _text(path: Path) -> str:
    """A list as text: UTF-8, or what its byte order mark says."""
    try:
        data = path.read_bytes()
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return data.decode("utf-16" if wide else "utf-8-sig").removeprefix("\ufeff")  # some programs write it twice
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}), expected one frame's name a line") from error


def read_list(path: Path, known: Collection[str]) -> list[str]:
    """Frames that a list names, in its order, each one of ``known``.

    A line is a name (which may hold spaces and dots), or columns parted by spaces, tabs or commas, the first of which
    counts; folders and suffixes do not. Raises DataError for an empty list, a name twice, and one that is not known.
    """
    names: list[str] = []
    absent: list[str] = []
    for line in _text(path).splitlines():
        line = line.strip().strip('"')
        if not line or line.startswith("#"):
            continue
        columns = [line, *re.split(r"[\t,;]", line, maxsplit=1)[:1], *line.split()[:1]]
        stems = [stem_of(column.strip().strip('"').replace("\\", "/").rpartition("/")[2]) for column in columns]
        name = next((stem for stem in stems if stem in known), None)
        names.append(stems[-1] if name is None else name)
        absent += [stems[-1]] if name is None else []
    if not names:
        raise DataError(f"{path}: names no frame, expected one name a line")
    if absent:
        raise DataError(
            f"{path}: names {absent[0]} ({len(absent)} of {len(names)} names like it), expected names of colour images"
        )
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{path}: names {twice} twice, expected every frame once")
    return sorted(names, key=natural_key)
