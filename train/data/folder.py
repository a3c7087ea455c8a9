"""RGB-D saliency folders as the public sets ship them: ``RGB/ depth/ GT/`` in any of the usual spellings.

Depth images: 16 bit are millimetres, 0 = no measurement. 8 bit carry no unit: value v is taken as relative inverse
depth and mapped to pseudo-metres, 1/z = 1/5 + v/255 · (1/0.5 − 1/5), so 0 … 255 span 5 m … 0.5 m. The model
standardises inverse depth per image, so the choice of 0.5 and 5 m cancels; only the polarity matters: NJU2K and
others store near as bright ("near_bright", the default), some sets near as dark ("near_dark").
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.item import DataError, Item

RGB_NAMES = ("rgb", "rgbs", "image", "images", "img", "imgs", "color", "colour", "left", "rgb_left")
DEPTH_NAMES = ("depth", "depths", "depth_map", "depth_maps", "depthmap", "d")
MASK_NAMES = ("gt", "gts", "mask", "masks", "groundtruth", "ground_truth", "label", "labels", "annotation")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
ENDINGS = ("_depth", "-depth", "_d", "_gt", "-gt", "_mask", "_rgb", "_left", "_right")
POLARITIES = ("near_bright", "near_dark")
PSEUDO_NEAR_M, PSEUDO_FAR_M = 0.5, 5.0


def find_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The subfolder of ``root`` whose name, in any case, is the first of ``names`` there is."""
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


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


def read_depth(path: Path, polarity: str = "near_bright", scale_m: float = 0.001) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 = no measurement, from a 16-bit or an 8-bit depth image (see the module's text)."""
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        if image.shape[2] == 4:
            image = image[..., :3]
        if not (np.ptp(image.astype(np.int32), axis=2) <= 8).all():  # JPEG makes grey channels differ a little
            raise DataError(f"{path}: is a colour picture, expected a depth map of one channel, 8 or 16 bit")
        image = image[..., 1]
    if image.dtype == np.uint16:
        return np.asarray(image.astype(np.float32) * np.float32(scale_m))
    if image.dtype != np.uint8:
        raise DataError(f"{path}: depth is {image.dtype}, expected 8 or 16 bit unsigned")
    share = image.astype(np.float32) / 255
    if polarity == "near_dark":
        share = 1 - share
    return np.asarray(1 / (1 / PSEUDO_FAR_M + share * (1 / PSEUDO_NEAR_M - 1 / PSEUDO_FAR_M)), dtype=np.float32)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 255; grey values are cut at half."""
    image = read_image(path, cv2.IMREAD_GRAYSCALE)
    return np.where(image > 127, 255, 0).astype(np.uint8)


class RgbdFolder:
    """The frames of ``root``, sorted by name; ``mask`` is None where there is no GT folder."""

    def __init__(self, root: str | Path, polarity: str = "near_bright") -> None:
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
        for kind, there in (("depth", self.depth), ("ground truth", self.masks)):
            if there is not None:
                missing = [name for name in self.names if name not in there]
                if missing:
                    raise DataError(
                        f"{self.rgb[missing[0]]}: has no {kind} ({len(missing)} of {len(self.names)} lack it), "
                        "expected a file of the same name"
                    )

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
