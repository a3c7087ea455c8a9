"""Frames of real depth sensors, ``RGB/`` and ``depth/`` (16 bit, millimetres, 0 = hole), without masks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.pairs import pairs
from mutualformer.runtime.sources.depth import read_depth
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import DEPTH_NAMES, frames_in, one_file_a_frame
from mutualformer.runtime.sources.pictures import DEPTH_SUFFIXES, decode, read_bytes, read_colour

Rng = np.random.Generator

UNKNOWN = 128  # of 255: neither salient nor background


class SensorFrame(NamedTuple):
    """``rgb`` uint8 (H, W, 3), ``depth`` float32 metres, ``salient`` uint8 (H, W): a teacher's soft map."""

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    salient: NDArray[np.uint8]


class SensorFrames:
    """Frames of ``root``; ``teacher``: a folder of soft saliency maps (8 bit, NAME.png).

    A frame without a map is left out: taken as empty, it would teach a model to leave out the objects of every table.
    Without a teacher every pixel is UNKNOWN, which nobody trains on. Raises DataError where no frame has a map.
    """

    def __init__(self, root: str | Path, teacher: str | Path | None = None) -> None:
        self.root = Path(root)
        names, self.rgb, self.depth = pairs(self.root, "depth", DEPTH_NAMES, DEPTH_SUFFIXES)
        self.names, self.maps = names, {}
        if teacher is None:
            return
        self.maps = one_file_a_frame(frames_in(Path(teacher)))
        self.names = [name for name in names if name in self.maps]
        if not self.names:
            raise DataError(f"{teacher}: has no map of the {len(names)} frames of {root}, expected NAME.png for each")
        if len(self.names) < len(names):
            logging.getLogger("mutualformer").warning(
                "%s: %d of %d frames are left out, %s has no map of them",
                root,
                len(names) - len(self.names),
                len(names),
                teacher,
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> SensorFrame:
        name = self.names[index]
        rgb, depth = read_colour(self.rgb[name]), read_depth(self.depth[name])
        if depth.shape != rgb.shape[:2]:
            raise DataError(f"{self.depth[name]}: is {depth.shape}, expected {rgb.shape[:2]} as in {self.rgb[name]}")
        path = self.maps.get(name)
        if path is None:
            return SensorFrame(rgb, depth, np.full(depth.shape, UNKNOWN, np.uint8))
        salient = np.asarray(decode(read_bytes(path), str(path), "grey"), np.uint8)
        if salient.shape != depth.shape:
            raise DataError(f"{path}: is {salient.shape}, expected {depth.shape} as in {self.rgb[name]}")
        return SensorFrame(rgb, depth, salient)

    def files(self, index: int) -> tuple[Path, ...]:
        """The files of frame ``index``: picture and depth."""
        name = self.names[index]
        return self.rgb[name], self.depth[name]

    def window(self, size: tuple[int, int], rng: Rng, smallest: float = 0.55) -> SensorFrame:
        """A random frame, cropped, perhaps mirrored, at ``size`` (height, width)."""
        frame = self[int(rng.integers(len(self)))]
        rows, columns = frame.depth.shape
        share = float(rng.uniform(smallest, 1))
        h, w = int(rows * share), int(columns * min(1.0, share * rng.uniform(0.85, 1.15)))
        top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
        window = slice(top, top + h), slice(left, left + w)
        mirrored = rng.random() < 0.5

        def at_size(image: NDArray[np.generic], interpolation: int) -> NDArray[np.generic]:
            part = cv2.resize(np.ascontiguousarray(image[window]), size[::-1], interpolation=interpolation)
            return np.ascontiguousarray(part[:, ::-1]) if mirrored else part

        return SensorFrame(
            at_size(frame.rgb, cv2.INTER_AREA if h > size[0] else cv2.INTER_LINEAR),  # type: ignore[arg-type]
            at_size(frame.depth, cv2.INTER_NEAREST),  # type: ignore[arg-type]
            at_size(frame.salient, cv2.INTER_LINEAR),  # type: ignore[arg-type]
        )
