"""RGB-D saliency folders as the public sets ship them: ``RGB/ depth/ GT/`` in any of the usual spellings.

A text file ``train.txt`` or ``test.txt`` (``.lst`` too) beside them names the frames of that split, one a line, with
or without suffix; of several columns the first counts.

Depth images: 16 bit are millimetres, 0 = no measurement. 8 bit carry no unit: value v is taken as relative inverse
depth and mapped to pseudo-metres, 1/z = 1/5 + v/255 · (1/0.5 − 1/5), so 0 … 255 span 5 m … 0.5 m. The model
standardises inverse depth per image, so the choice of 0.5 and 5 m cancels; only the polarity matters: NJU2K and
others store near as bright ("near_bright", the default), some sets near as dark ("near_dark"); "auto" decides from
the frames (runtime/data/polarity.py) and refuses when they do not settle it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.data.item import DataError, Item
from mutualformer.runtime.data.polarity import gather, spread_over

RGB_NAMES = ("rgb", "rgbs", "image", "images", "img", "imgs", "color", "colour", "left", "rgb_left")
RGB_NAMES += ("train_images", "test_images")  # as DUT-RGBD ships
DEPTH_NAMES = ("depth", "depths", "depth_map", "depth_maps", "depthmap", "d", "train_depth", "test_depth")
MASK_NAMES = ("gt", "gts", "mask", "masks", "groundtruth", "ground_truth", "label", "labels", "annotation")
MASK_NAMES += ("train_masks", "test_masks")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
ENDINGS = ("_depth", "-depth", "_d", "_gt", "-gt", "_mask", "_rgb", "_left", "_right")
POLARITIES = ("near_bright", "near_dark", "auto")
PSEUDO_NEAR_M, PSEUDO_FAR_M = 0.5, 5.0


def find_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The subfolder of ``root`` whose name, in any case, is the first of ``names`` there is."""
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def is_rgbd(folder: Path) -> bool:
    """Whether ``folder`` has colour and depth subfolders."""
    return find_folder(folder, RGB_NAMES) is not None and find_folder(folder, DEPTH_NAMES) is not None


def stem_of(path: Path) -> str:
    """What the files of one frame have in common: the name without suffix, case and endings such as ``_Depth``."""
    stem = path.stem.lower()
    for ending in ENDINGS:
        if stem.endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return stem


def list_images(folder: Path) -> dict[str, Path]:
    """Stem → file. Raises DataError when two files share a stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            stem = stem_of(path)
            if stem in found:
                raise DataError(f"{path}: is named like {found[stem].name}, expected one file per frame in {folder}")
            found[stem] = path
    return found


def read_image(path: Path, flags: int) -> NDArray[np.generic]:
    """An image file as OpenCV reads it. Raises DataError naming the file."""
    try:
        data = np.fromfile(path, np.uint8)  # not cv2.imread: that hides the reason and trips over some paths
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not data.size:
        raise DataError(f"{path}: the file is empty, expected an image")
    image = cv2.imdecode(data, flags)
    if image is None:
        raise DataError(f"{path}: cannot be decoded ({data.size} bytes), expected a whole JPEG, PNG or BMP image")
    return np.asarray(image)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, RGB order."""
    image = read_image(path, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_raw_depth(path: Path) -> NDArray[np.generic]:
    """(H, W) uint8 or uint16 as stored. Raises DataError for anything that is no depth map."""
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        if image.shape[2] == 4:
            image = image[..., :3]
        if not (np.ptp(image.astype(np.int32), axis=2) <= 8).all():  # JPEG makes grey channels differ a little
            raise DataError(f"{path}: is a colour picture, expected a depth map of one channel, 8 or 16 bit")
        image = image[..., 1]
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: depth is {image.dtype}, expected 8 or 16 bit unsigned")
    return image


def read_depth(path: Path, polarity: str = "near_bright", scale_m: float = 0.001) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 = no measurement, from a 16-bit or an 8-bit depth image (see the module's text)."""
    image = read_raw_depth(path)
    if image.dtype == np.uint16:
        return np.asarray(image.astype(np.float32) * np.float32(scale_m))
    share = image.astype(np.float32) / 255
    if polarity == "near_dark":
        share = 1 - share
    return np.asarray(1 / (1 / PSEUDO_FAR_M + share * (1 / PSEUDO_NEAR_M - 1 / PSEUDO_FAR_M)), dtype=np.float32)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 255; grey values are cut at half."""
    image = read_image(path, cv2.IMREAD_GRAYSCALE)
    return np.where(image > 127, 255, 0).astype(np.uint8)


def find_list(root: Path, split: str) -> Path | None:
    """The file beside the image folders that names the frames of ``split``: train.txt, NJU2K_train.lst, …"""
    spelled = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".txt", ".lst") and p.is_file()]
    return next((p for p in spelled if p.stem.lower() == split or p.stem.lower().endswith(f"_{split}")), None)


def read_list(path: Path) -> list[str]:
    """Stems that a list of frames names. Raises DataError on an empty or ambiguous list."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="strict").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}), expected one frame's name a line") from error
    names = [stem_of(Path(words[0])) for words in lines if words and not words[0].startswith("#")]
    if not names:
        raise DataError(f"{path}: names no frame, expected one name a line")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: names {twice} twice, expected every frame once")
    return names


class RgbdFolder:
    """The frames of ``root``, sorted by name; ``mask`` is None where there is no GT folder.

    ``split``: take only the frames that the list of that split names, where there is one. ``listed`` is its path.
    """

    def __init__(self, root: str | Path, polarity: str = "near_bright", split: str | None = None) -> None:
        self.root = Path(root)
        if polarity not in POLARITIES:
            raise DataError(f"polarity is {polarity!r}, expected one of {', '.join(POLARITIES)}")
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder, expected one with RGB/, depth/ and GT/ in it")
        self.polarity = polarity
        rgb, depth = find_folder(self.root, RGB_NAMES), find_folder(self.root, DEPTH_NAMES)
        if rgb is None or depth is None:
            there = ", ".join(sorted(p.name for p in self.root.iterdir())[:8]) or "nothing"
            raise DataError(f"{self.root}: holds {there}, expected folders RGB/ and depth/ (and GT/ for ground truth)")
        mask = find_folder(self.root, MASK_NAMES)
        self.rgb, self.depth = list_images(rgb), list_images(depth)
        self.masks = list_images(mask) if mask is not None else None
        self.names = sorted(self.rgb)
        if not self.names:
            raise DataError(f"{rgb}: holds no image, expected .jpg, .png or .bmp files")
        self.listed = find_list(self.root, split) if split else None
        if self.listed is not None:
            wanted = read_list(self.listed)
            absent = [name for name in wanted if name not in self.rgb]
            if absent:
                raise DataError(
                    f"{self.listed}: names {absent[0]} ({len(absent)} of {len(wanted)} names like it), "
                    f"expected images of those names in {rgb}"
                )
            self.names = sorted(wanted)
        for kind, there in (("depth", self.depth), ("ground truth", self.masks)):
            if there is not None:
                missing = [name for name in self.names if name not in there]
                if missing:
                    raise DataError(
                        f"{self.rgb[missing[0]]}: has no {kind} ({len(missing)} of {len(self.names)} lack it), "
                        "expected a file of the same name"
                    )
        if polarity == "auto":
            self.polarity = self._decide_polarity()

    def _decide_polarity(self) -> str:
        chosen = [self.names[index] for index in spread_over(len(self.names))]
        depths = [read_raw_depth(self.depth[name]) for name in chosen]
        if all(depth.dtype == np.uint16 for depth in depths):
            return "near_bright"  # millimetres: nothing to decide
        masks = [read_mask(self.masks[name]) if self.masks is not None else None for name in chosen]
        fits = [
            mask if mask is not None and mask.shape == d.shape else None for mask, d in zip(masks, depths, strict=True)
        ]
        evidence = gather(zip(depths, fits, strict=True))
        if not evidence.polarity:
            raise DataError(
                f"{self.root}: whether near is bright or dark cannot be told ({evidence}); "
                "append ?polarity=near_bright or ?polarity=near_dark"
            )
        logging.getLogger("mutualformer").info("%s: %s (%s)", self.root, evidence.polarity, evidence)
        return evidence.polarity

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Item:
        name = self.names[index]
        rgb = read_rgb(self.rgb[name])
        depth = read_depth(self.depth[name], self.polarity)
        mask = read_mask(self.masks[name]) if self.masks is not None else None
        for path, other in ((self.depth[name], depth), (self.masks[name] if self.masks else None, mask)):
            if other is not None and other.shape != rgb.shape[:2]:
                raise DataError(f"{path}: is {other.shape}, expected {rgb.shape[:2]} as in {self.rgb[name].name}")
        return Item(rgb, depth, mask, self.rgb[name].stem)
