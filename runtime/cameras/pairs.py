"""Two folders of images with equal file names: colour beside depth, or colour beside near-infrared (``nir=1``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import BaseCamera, CameraError, Frame
from mutualformer.runtime.cameras.tum import load_colour, load_depth

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre (1000 = millimetres). ``fps``: makes timestamps. ``nir``: the 2nd folder."""

    scale: float = 1000.0
    fps: float = 30.0
    nir: bool = False


def images(folder: Path) -> dict[str, Path]:
    """File stem → path of every image in ``folder``. Raises CameraError."""
    if not folder.is_dir():
        raise CameraError(f"pairs: folder {str(folder)!r} does not exist")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES}


class PairsCamera(BaseCamera):
    """In order of file names; names without a partner are left out and said in ``warnings``."""

    def __init__(self, first: Path, second: Path, options: Options) -> None:
        if not (options.scale > 0 and options.fps > 0):
            raise CameraError(f"pairs:{first},{second}: expected scale > 0 and fps > 0")
        scale = None if options.nir else 1.0 / options.scale
        super().__init__(f"pairs:{first},{second}", live=False, depth_scale=scale)
        self._options = options
        colour, other = images(first), images(second)
        self._pairs = [(colour[stem], other[stem]) for stem in sorted(colour.keys() & other.keys())]
        if not self._pairs:
            raise CameraError(f"pairs:{first},{second}: no file name occurs in both folders")
        single = len(colour.keys() ^ other.keys())
        if single:
            self.warn(f"pairs:{first},{second}: {single} images have no partner of the same name, left out")
        self._next = 0

    def read(self, timeout: float = 1.0) -> Frame | None:
        while self._next < len(self._pairs):
            first, second = self._pairs[self._next]
            index, self._next = self._next, self._next + 1
            began = time.perf_counter()
            try:
                rgb = load_colour(first)
                nir = load_colour(second) if self._options.nir else None
                if nir is not None:
                    depth = np.zeros(rgb.shape[:2], np.float32)
                else:
                    depth = load_depth(second, self.depth_scale)
                    if rgb.shape[:2] != depth.shape:
                        raise CameraError(f"{first} is {rgb.shape[:2]} and {second} {depth.shape}, expected one size")
            except CameraError as error:
                self.warn(f"frame left out: {error}")
                continue
            self.busy_s = time.perf_counter() - began
            stamp = index / self._options.fps
            return Frame(rgb, depth, stamp, stamp, index, nir)
        return None


def open_source(target: str, given: Mapping[str, Any]) -> PairsCamera:
    """``target``: the two folders separated by a comma."""
    first, comma, second = target.partition(",")
    if not (comma and first and second):
        raise CameraError(f"pairs:{target}: expected two folders, pairs:RGB_DIR,DEPTH_DIR")
    return PairsCamera(Path(first), Path(second), opts.parse(Options, given, f"pairs:{target}"))
