"""Colour and depth files as the folder sources read them: the shared readers, with their errors as a source's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.cameras.base import BaseCamera, CameraError
from mutualformer.runtime.images import files
from mutualformer.runtime.images.depth import DepthRule, read_stored_depth, to_metres


def load_colour(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as stored: depth beside it has no EXIF turn, so none is made. Raises CameraError."""
    try:
        return files.read_colour(path)
    except files.ImageError as error:
        raise CameraError(str(error)) from error


def list_folder(folder: Path, suffixes: tuple[str, ...] = files.COLOUR_SUFFIXES) -> files.Listing:
    """The pictures of ``folder`` in natural order. Raises CameraError."""
    try:
        return files.list_images(folder, suffixes)
    except files.ImageError as error:
        raise CameraError(str(error)) from error


class DepthLoader:
    """Depth files → metres. ``camera`` is told, once, what was assumed; its ``depth_scale`` becomes None for floats.

    ``units``: per metre, given in the address or (``assumed``) by the source's convention.
    """

    def __init__(self, camera: BaseCamera, units: float, assumed: bool) -> None:
        self._camera, self._units, self._assumed = camera, units, assumed

    def load(self, path: Path) -> NDArray[np.float32]:
        """(H, W) float32 metres, 0 = no measurement. Raises CameraError."""
        try:
            stored = read_stored_depth(path)
        except files.ImageError as error:
            raise CameraError(str(error)) from error
        if stored.dtype == np.uint8:
            raise CameraError(f"{path}: depth of 8 bits has no unit, expected 16-bit units or float metres")
        if stored.dtype == np.uint16:
            return self._camera.metres(stored, 1.0 / self._units)
        self._camera.depth_scale = None
        floats = stored.dtype.kind == "f"
        return to_metres(stored, DepthRule(units_per_metre=None if floats and self._assumed else self._units))


def same_size(rgb: NDArray[np.uint8], depth: NDArray[np.float32], colour: Path, other: Path) -> None:
    """Raises CameraError where colour and depth of one frame differ in size, EXIF's turn named where that is why."""
    if rgb.shape[:2] == depth.shape:
        return
    turned = rgb.shape[1::-1] == depth.shape
    try:
        tag = files.orientation(colour) if turned else 1
    except files.ImageError:
        tag = 1
    why = f"; the picture carries EXIF orientation {tag}, save it turned" if tag != 1 else ""
    raise CameraError(f"{colour} is {rgb.shape[:2]} and {other} is {depth.shape}, expected one size{why}")


def note_orientation(camera: BaseCamera, path: Path) -> None:
    """Say once that pictures carry an EXIF turn, which is not made."""
    try:
        tag = files.orientation(path)
    except files.ImageError:
        return
    if tag != 1:
        camera.warn(
            f"{path}: carries EXIF orientation {tag}; pictures are read as stored, as the depth beside them is",
            key="orientation",
        )
