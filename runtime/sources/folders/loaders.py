"""Colour and depth files as the folder sources read them: the shared readers, with their errors as a source's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import pictures as files
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.depth import DepthRule, hole_code, read_stored_depth, to_metres
from mutualformer.runtime.sources.depth_range import finer_unit
from mutualformer.runtime.sources.folders.declared import declared_units


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


class Units(NamedTuple):
    """Depth units per metre of integers. ``given``: by the address; ``assumed``: only the source's convention."""

    per_metre: float
    given: bool = False
    assumed: bool = False


def settle_units(name: str, given: float, folders: Sequence[Path], convention: float) -> Units:
    """What the address gives, else what a text in ``folders`` declares, else the ``convention``; a guess is said."""
    if given:
        return Units(given, given=True)
    log, declared = logging.getLogger("mutualformer"), declared_units(folders)
    if declared is not None:
        log.info("%s: depth of integers is read as %s", name, declared)
        return Units(declared.units_per_metre)
    log.info("%s: depth of integers is read as %g units a metre (?scale= if not so)", name, convention)
    return Units(convention, assumed=True)


class DepthLoader:
    """Depth files → metres. ``camera`` is told, once, what was assumed; its ``depth_scale`` becomes None for floats."""

    def __init__(self, camera: BaseCamera, units: Units) -> None:
        self._camera, self._units = camera, units
        self._looked = not units.assumed

    def load(self, path: Path) -> NDArray[np.float32]:
        """(H, W) float32 metres, 0 = no measurement. Raises CameraError."""
        try:
            stored = read_stored_depth(path)
        except files.ImageError as error:
            raise CameraError(str(error)) from error
        if stored.dtype == np.uint8:
            raise CameraError(f"{path}: depth of 8 bits has no unit, expected 16-bit units or float metres")
        if stored.dtype == np.uint16:
            if not self._looked:
                self._look_at_steps(stored)
            return self._camera.metres(stored, 1.0 / self._units.per_metre)
        self._camera.depth_scale = None
        units = 1.0 if stored.dtype.kind == "f" and not self._units.given else self._units.per_metre
        self._camera.note_hole(hole_code(stored, units))
        return to_metres(stored, DepthRule(units_per_metre=units))

    def _look_at_steps(self, stored: NDArray[np.uint16]) -> None:
        """Say once when the values of the first map are whole millimetres in another unit than the assumed one."""
        self._looked = True
        units = finer_unit(stored)
        if units is not None and units not in (1000, round(self._units.per_metre)):
            self._camera.warn(
                f"{self._camera.name}: depth values are multiples of {units // 1000}, whole millimetres in units of "
                f"1/{units} m? It was read as {self._units.per_metre:g} units a metre because nothing else was said; "
                f"if so append ?scale={units}"
            )


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
