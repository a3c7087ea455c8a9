"""Two folders of images with equal file names: colour beside depth, or colour beside near-infrared (``nir=1``)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.folders.loaders import (
    DepthLoader,
    Units,
    list_folder,
    load_colour,
    note_orientation,
    same_size,
    settle_units,
)
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.pacing import Pace
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES, DEPTH_SUFFIXES, Listing

UNITS_PER_METRE = 1000.0


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre, 0 = millimetres. ``fps``: makes timestamps. ``nir``: the 2nd folder.

    ``rate``: play at this multiple of ``fps``, 0 = as fast as frames are taken. ``loop``: begin again at the end.
    """

    scale: float = 0.0
    fps: float = 30.0
    nir: bool = False
    rate: float = 0.0
    loop: bool = False


class PairsCamera(BaseCamera):
    """In the order people count file names; names without a partner are left out and said in ``warnings``."""

    def __init__(self, first: Path, second: Path, options: Options) -> None:
        name = f"pairs:{first},{second}"
        if not (math.isfinite(options.scale) and options.scale >= 0 and 0 < options.fps < math.inf):
            raise CameraError(f"{name}: expected scale > 0 and fps > 0")
        units = Units(options.scale or UNITS_PER_METRE)
        if not options.nir and second.is_dir():
            common = [second.parent] if second.parent == first.parent else []
            units = settle_units(name, options.scale, [second, *common], UNITS_PER_METRE)
        super().__init__(name, live=False, depth_scale=None if options.nir else 1.0 / units.per_metre)
        self.assumed_units = units.per_metre if units.assumed else None
        self._options = options
        for folder in (first, second):
            if not folder.is_dir():
                raise CameraError(f"pairs: folder {str(folder)!r} does not exist")
        self._load_depth = DepthLoader(self, units).load
        colour = list_folder(first, COLOUR_SUFFIXES)
        other = list_folder(second, COLOUR_SUFFIXES if options.nir else DEPTH_SUFFIXES)
        self._pairs = [(path, other.files[stem]) for stem, path in colour.files.items() if stem in other.files]
        if not self._pairs:
            raise CameraError(
                f"{name}: no file name occurs in both folders ({_example(colour)} and {_example(other)}); name the two "
                "images of a frame alike, but for the ending"
            )
        self._say_what_is_left_out(colour, other)
        self._pace, self._next, self._usable = Pace(options.rate, self), 0, 0

    def _say_what_is_left_out(self, colour: Listing, other: Listing) -> None:
        single = len(colour.files.keys() ^ other.files.keys())
        if single:
            self.warn(f"{self.name}: {single} images have no partner of the same name, left out")
        for listing in (colour, other):
            if listing.twice:
                left, kept = listing.twice[0]
                self.warn(
                    f"{self.name}: {len(listing.twice)} names of {listing.folder} are there with two endings; "
                    f"{kept.name} is taken and {left.name} left out"
                )
            if listing.other:
                self.warn(f"{self.name}: {len(listing.other)} files of {listing.folder} are no images, left out")

    def _more(self) -> bool:
        """Whether a pair is left; a loop ends where not one of them could be used."""
        if self._options.loop and (self._usable or self._next < len(self._pairs)):
            return True
        return self._next < len(self._pairs)

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; the time of pair i is i / fps. Pairs that cannot be read are left out."""
        while self._more():
            first, second = self._pairs[self._next % len(self._pairs)]
            stamp = self._next / self._options.fps
            self._pace.wait(stamp, timeout)
            index, self._next = self._next, self._next + 1
            began = time.perf_counter()
            try:
                rgb = load_colour(first)
                nir = load_colour(second) if self._options.nir else None
                if nir is not None:
                    depth = np.zeros(rgb.shape[:2], np.float32)
                else:
                    depth = self._load_depth(second)
                    same_size(rgb, depth, first, second)
            except CameraError as error:
                self.leave_out(str(error))
                continue
            if index == 0:
                note_orientation(self, first)
            self.busy_s = time.perf_counter() - began
            self._usable += 1
            return Frame(rgb, depth, stamp, stamp, index, nir)
        self.sum_up()
        return None


def _example(listing: Listing) -> str:
    name = next((path.name for path in listing.files.values()), None)
    return repr(name) if name else f"no image in {listing.folder}"


def split_folders(target: str) -> tuple[str, str]:
    """``A,B`` → A and B; where names hold commas, the only way to read it as two folders. Raises CameraError."""
    commas = [index for index, letter in enumerate(target) if letter == ","]
    ways = [(target[:index], target[index + 1 :]) for index in commas if 0 < index < len(target) - 1]
    real = [way for way in ways if all(Path(folder).is_dir() for folder in way)]
    if not ways:
        raise CameraError(f"pairs:{target}: expected two folders, pairs:RGB_DIR,DEPTH_DIR")
    if len(real) > 1:
        raise CameraError(f"pairs:{target}: can be read as two folders in {len(real)} ways; rename one")
    return real[0] if real else ways[0]


def open_source(target: str, query: Mapping[str, Any]) -> PairsCamera:
    """``target``: the two folders separated by a comma."""
    first, second = split_folders(target)
    return PairsCamera(Path(first), Path(second), opts.parse(Options, query, f"pairs:{target}"))
