"""Seeded synthetic identities for RGB-NIR re-identification.

An identity is one compound object with its own shape, colours and near-infrared response. Four cameras stand around
one side of a crossing, as in RGBN300: each has its own bearing, height and tint, the light is another in every picture,
and the picture is cropped to the object as a detector would. Behind it are streets in greys and dull colours that have
nothing to do with the identity. A view is a function of (seed, identity, camera, view).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.scenes.materials import Colour, Palette, shade
from mutualformer.runtime.sources.scenes.objects import compound, extent, place, vector
from mutualformer.runtime.sources.scenes.primitives import BOX, Array, GeometryBuffer, Pinhole, Solid, yaw
from mutualformer.runtime.sources.scenes.sensor import expose

VERSION = 4
CAMERAS = 4
VIEWS = 3  # of each identity by each camera
BEARINGS = np.radians([-36.0, -12.0, 12.0, 36.0])  # of the cameras, relative to the side that faces the crossing
HEADING = np.radians(7.0)  # deviation of an object's heading from view to view
STREET_COLOUR = 0.3  # saturation left to what is not the object
SMALL = 128  # pixels; smaller pictures are rendered at twice their size and averaged, as a pixel averages


def _merge(first: Palette, second: Palette) -> tuple[Palette, int]:
    """One palette with the materials of both; returns it and what to add to numbers of ``second``."""
    shift = len(first.tiles) - 1
    moved = [m._replace(tile=m.tile + shift if m.tile else 0) for m in second.materials]
    tiles = np.concatenate([first.tiles, second.tiles[1:]])
    return Palette(tiles, [*first.materials, *moved]), len(first.materials)


def _near_infrared(palette: Palette, rng: np.random.Generator) -> Palette:
    """Every colour as a grey: dyes that look alike may differ in the near infrared, and the reverse."""
    greys = []
    for material in palette.materials:
        red, green, blue = material.first
        visible = 0.3 * red + 0.6 * green + 0.1 * blue
        a = float(np.clip(0.45 * visible + 0.55 * rng.random(), 0.03, 0.97))
        b = float(np.clip(a + rng.normal(0, 0.15), 0.03, 0.97)) if material.tile else a
        greys.append(material._replace(first=(a, a, a), second=(b, b, b)))
    return Palette(palette.tiles, greys)


def _dull(palette: Palette) -> Palette:
    """The same materials with most of their colour taken away."""

    def dulled(colour: Colour) -> Colour:
        values = np.array(colour)
        red, green, blue = (float(v) for v in STREET_COLOUR * values + (1 - STREET_COLOUR) * values.mean())
        return red, green, blue

    materials = [m._replace(first=dulled(m.first), second=dulled(m.second)) for m in palette.materials]
    return Palette(palette.tiles, materials)


def _street(rng: np.random.Generator, palette: Palette, distance: float) -> list[Solid]:
    """A floor, a wall and a few blocks far behind the object."""
    floor, wall = palette.pick(rng, "floor", "any")
    back = distance * float(rng.uniform(1.6, 3.0))
    solids = [
        Solid(BOX, vector(0, -1, 0), vector(200, 1, 200), np.eye(3, dtype=np.float32), floor),
        Solid(BOX, vector(0, 0, back + 0.5), vector(100, 30, 0.5), yaw(float(rng.normal(0, 0.2))), wall),
    ]
    for _ in range(int(rng.integers(0, 5))):
        half = rng.uniform(0.1, 0.6, 3).astype(np.float32) * np.float32(distance / 3)
        spot = vector(rng.uniform(-1, 1) * back * 0.5, half[1], back - half[2])
        solids.append(Solid(BOX, spot, half, yaw(float(rng.uniform(0, 3))), palette.any(rng)))
    return solids


def view(
    seed: int, identity: int, camera: int, index: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB and NIR, (H, W, 3) uint8 each, of one identity."""
    if max(size) < SMALL:
        large = view(seed, identity, camera, index, (2 * size[0], 2 * size[1]))
        rgb, nir = (cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA) for picture in large)
        return np.asarray(rgb, np.uint8), np.asarray(nir, np.uint8)
    who = np.random.default_rng([VERSION, 11, seed, identity])
    body = Palette.draw(who)
    parts = compound(who, body)
    body_nir = _near_infrared(body, who)

    fixed = np.random.default_rng([VERSION, 12, seed, camera])  # the camera's own place and look
    rise, tint = float(fixed.uniform(0.1, 0.4)), fixed.uniform(0.92, 1.08, 3).astype(np.float32)
    rng = np.random.default_rng([VERSION, 13, seed, identity, camera, index])
    angle = float(BEARINGS[camera % CAMERAS] + rng.normal(0, HEADING))
    turned = place(parts, 1.0, angle, vector(0, 0, 0), 1)
    low, high = extent(turned)
    distance = float((high - low).max()) / float(rng.uniform(0.8, 1.0)) / 0.7 + float(high[2] - low[2]) / 2
    turned = place(turned, 1.0, 0.0, vector(rng.normal(0, 0.03) * distance, 0, distance), 1)
    middle = float(high[1]) / 2
    height = middle + distance * rise
    focal = size[1] / 0.7
    eye = Pinhole(size, focal, height, float(np.arctan2(height - middle, distance)))

    around = Palette.draw(rng)
    street = _street(rng, around, distance)
    around = _dull(around)
    around_nir = _near_infrared(around, rng)
    light = int(rng.integers(1 << 31))
    buffer: GeometryBuffer | None = None
    pictures: list[NDArray[np.uint8]] = []
    for ours, theirs in ((body, around), (body_nir, around_nir)):
        palette, shift = _merge(ours, theirs)
        if buffer is None:
            for solid in street:
                solid.material += shift
            buffer = GeometryBuffer(eye)
            with np.errstate(all="ignore"):
                for solid in [*street, *turned]:
                    buffer.draw(solid)
            buffer.depth = np.minimum(buffer.depth, np.float32(1000))
        lit: Array = np.ones(size, np.float32)
        with np.errstate(all="ignore"):
            radiance = shade(buffer, palette, lit, np.random.default_rng(light))
        nir = bool(pictures)
        picture = expose(radiance if nir else radiance * tint, rng)
        if nir:
            picture = np.repeat(picture.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        pictures.append(picture)
    return pictures[0], pictures[1]


class SyntheticIdentities:
    """``count`` identities from ``seed``, seen by CAMERAS cameras VIEWS times each, in the order of ``locate``."""

    KIND, VERSION = "identities", VERSION

    def __init__(self, count: int, seed: int = 0, size: tuple[int, int] = (64, 64)) -> None:
        if count < 2 or seed < 0:
            raise DataError(f"synthetic:{count}?seed={seed}: expected at least two identities and a seed ≥ 0")
        self.count, self.seed, self.size = count, seed, size

    @classmethod
    def of(cls, *arguments: int) -> SyntheticIdentities:
        """The inverse of :attr:`arguments`."""
        count, seed, height, width = arguments
        return cls(count, seed, (height, width))

    @property
    def arguments(self) -> tuple[int, ...]:
        """(count, seed, height, width)."""
        return (self.count, self.seed, *self.size)

    def __len__(self) -> int:
        return self.count * CAMERAS * VIEWS

    def locate(self, index: int) -> tuple[int, int, int]:
        """Identity, camera and view of sample ``index``."""
        identity, rest = divmod(index, CAMERAS * VIEWS)
        return identity, *divmod(rest, VIEWS)

    def layout(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """``rgb`` and ``nir``, uint8 (H, W, 3) each."""
        return {"rgb": ("u1", (*self.size, 3)), "nir": ("u1", (*self.size, 3))}

    def sample(self, index: int) -> dict[str, NDArray[Any]]:
        """Render view ``index``; who and which camera it is tells :meth:`locate`."""
        rgb, nir = view(self.seed, *self.locate(index), self.size)
        return {"rgb": rgb, "nir": nir}
