"""How the files of RGB-D sets are named and listed: the role of each folder, and which files belong to one frame."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from mutualformer.runtime.files import read_regular
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES, hidden, natural_key

# The last ones as DUT-RGBD, PASCAL VOC and COME15K ship.
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
    "train_images",
    "test_images",
    "jpegimages",
    "imgs_left",
)
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
    "train_masks",
    "test_masks",
    "ground_truth_mask",
    "groundtruth_mask",
    "segmentationclass",
    "gt_right",
)
# Folders whose pictures are depth maps or masks wherever they lie.
NO_PHOTOGRAPHS = {*DEPTH_NAMES, *MASK_NAMES, "segmentationobject", "imgs_right"} - {
    "d",
    "label",
    "labels",
    "annotation",
}
# RGB sets call their folders after themselves: DUTS-TR-Image, DUTS-TE-Mask, DUT-OMRON-image, pixelwiseGT-new-PNG.
RGB_ENDING = re.compile(r"[-_ ](images?|imgs?|rgb)$")
MASK_ENDING = re.compile(r"[-_ ](masks?|gts?|ground[-_]?truth)$|^pixelwisegt")
LARGEST_LIST_BYTES = 256 << 20
# Beside pictures these are notes and lists: no warning that they are left out.
TEXT_SUFFIXES = (".txt", ".csv", ".md", ".json", ".xml", ".lst", ".html", ".yaml", ".yml", "")
SUFFIXES = tuple(sorted({*COLOUR_SUFFIXES, *DEPTH_SUFFIXES}))
# Endings that distinguish the files of one frame: frame-000000.color.png, f1_depth.png, 0001_gt.png, or the whole name
# where a folder holds one frame (rgb.png beside depth.png). "d" alone may end any name.
ENDINGS = {
    "colour": r"rgb|colou?r|left|right|image|img",
    "depth": r"depth[._-]?(?:map|bin|image|raw)?|d",
    "mask": r"gt|mask|groundtruth|ground_truth",
}
ROLES = {role: re.compile(rf"^(?P<base>.*?)(?:^|(?<=.)[._\- ])(?:{words})$") for role, words in ENDINGS.items()}


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


class Part(NamedTuple):
    """``stem``: common to the names of the files of one frame. ``role``: colour, depth, mask or "" for unknown."""

    stem: str
    role: str


def part_of(name: Path | str) -> Part:
    """The one rule by which files belong together: names are compared without an image's suffix, in Unicode's NFC,
    without case, and without an ending such as ``_Depth``, ``.color`` or ``-gt``. ``.1`` in ``frame.1`` is no suffix.
    """
    path = Path(name)
    text = path.stem if path.suffix.lower() in SUFFIXES else path.name
    stem = unicodedata.normalize("NFC", text).lower()
    found = ""
    while match := next(((r, m) for r, rule in ROLES.items() if (m := rule.match(stem))), None):
        found = found or match[0]
        if not match[1]["base"]:
            break
        stem = match[1]["base"]
    return Part(stem, found)


def stem_of(name: Path | str) -> str:
    """As :func:`part_of`, the stem alone."""
    return part_of(name).stem


class Listing(NamedTuple):
    """Images of one folder. ``files``: stem → file, in natural order. ``twice``: (left out, kept instead).
    ``other``: files, neither hidden nor texts, whose suffix is not read."""

    files: dict[str, Path]
    twice: list[tuple[Path, Path]]
    other: list[Path]

    def unread(self) -> list[str]:
        """A sentence for each kind of ``other`` files."""
        kinds = Counter((path.parent, path.suffix.lower()) for path in self.other)
        return [f"{folder}: {count} {kind} files are left out, not read" for (folder, kind), count in kinds.items()]


def frames_in(
    folder: Path,
    suffixes: tuple[str, ...] = COLOUR_SUFFIXES,
    frame_of: Callable[[Path], str] = stem_of,
) -> Listing:
    """The images in ``folder``; ``frame_of``: what the files of one frame have in common. Raises DataError."""
    try:
        paths = [path for path in folder.iterdir() if not hidden(path) and not path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}), expected a folder of images") from error
    listing = Listing({}, [], [])
    for path in sorted(paths, key=lambda path: natural_key(path.name)):
        suffix = path.suffix.lower()
        if suffix not in suffixes:
            if suffix not in TEXT_SUFFIXES:
                listing.other.append(path)
        elif (kept := listing.files.setdefault(frame_of(path), path)) is not path:
            listing.twice.append((path, kept))
    return listing


def listings(root: Path) -> tuple[Listing, Listing | None, Listing | None]:
    """Colour, depth and ground truth of a folder of which ``is_rgbd`` holds; None for what it lacks."""
    rgb, depth, mask = (find_folder(root, names) for names in (RGB_NAMES, DEPTH_NAMES, MASK_NAMES))
    assert rgb is not None
    return frames_in(rgb), frames_in(depth, DEPTH_SUFFIXES) if depth else None, frames_in(mask) if mask else None


def one_file_a_frame(listing: Listing) -> dict[str, Path]:
    """Stem → file. Raises DataError when two files share a frame."""
    if listing.twice:
        one, kept = listing.twice[0]
        raise DataError(f"{one}: is named like {kept.name}, expected one file per frame in {one.parent}")
    return listing.files


def find_list(root: Path, split: str) -> Path | None:
    """The file beside the image folders that names the frames of ``split``: train.txt, NJU2K_train.lst, …"""
    spelled = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".txt", ".lst") and p.is_file()]
    return next((p for p in spelled if p.stem.lower() == split or p.stem.lower().endswith(f"_{split}")), None)


def list_text(path: Path) -> str:
    """The text of a list of names: UTF-8 or, with a byte order mark, UTF-16. Names in other encodings survive.

    Raises DataError.
    """
    try:
        data = read_regular(path, LARGEST_LIST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8", "surrogateescape")
    return text.lstrip("\ufeff")  # some programs write the mark twice


def read_list(path: Path, known: Collection[str]) -> list[str]:
    """Frames that a list names, in its order, each one of ``known``.

    A line is a name (which may hold spaces and dots), or columns separated by spaces, tabs or commas; the first column
    counts, without folder and suffix. Raises DataError for an empty list, a repeated and an unknown name.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(list_text(path).splitlines(), 1):
        line = line.strip().strip('"')
        if not line or line.startswith("#"):
            continue
        columns = [line, *re.split(r"[\t,;]", line, maxsplit=1)[:1], *line.split()[:1]]
        stems = [stem_of(column.strip().strip('"').replace("\\", "/").rpartition("/")[2]) for column in columns]
        name = next((stem for stem in stems if stem in known), None)
        if name is None:
            raise DataError(f"{path}, line {number}: names {stems[-1]}, expected the name of a colour image")
        if name in names:
            raise DataError(f"{path}, line {number}: names {name} twice, expected every frame once")
        names[name] = None
    if not names:
        raise DataError(f"{path}: names no frame, expected one name a line")
    return sorted(names, key=natural_key)
