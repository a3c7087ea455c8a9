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

from mutualformer.runtime.sources.scenes.cache import Rendered
from mutualformer.runtime.sources.scenes.materials import Material, Palette, shade
from mutualformer.runtime.sources.scenes.objects import compound, extent, place, vector
from mutualformer.runtime.sources.scenes.primitives import BOX, Pinhole, Solid, yaw
from mutualformer.runtime.sources.scenes.scene import drawn
from mutualformer.runtime.sources.scenes.sensor import expose

VERSION = 5
CAMERAS = 4
VIEWS = 3  # of each identity by each camera
MOST_IDENTITIES = 1_000_000
BEARINGS = np.radians([-36.0, -12.0, 12.0, 36.0])  # of the cameras, relative to the side that faces the crossing
HEADING = np.radians(7.0)  # deviation of an object's heading from view to view
DULL = ("dark", "pale", "metal")  # materials of little saturation: a street must not outshine the object
SMALL = 128  # pixels; smaller pictures are rendered at twice their size and averaged, as a pixel averages


def _near_infrared(materials: list[Material], rng: np.random.Generator) -> list[Material]:
    """Every colour as a grey: dyes that look alike may differ in the near infrared, and the reverse."""
    greys = []
    for material in materials:
        visible = float(np.dot((0.3, 0.6, 0.1), material.first))
        a = float(np.clip(0.45 * visible + 0.55 * rng.random(), 0.03, 0.97))
        b = float(np.clip(a + rng.normal(0, 0.15), 0.03, 0.97)) if material.tile else a
        greys.append(material._replace(first=(a, a, a), second=(b, b, b)))
    return greys


def _street(rng: np.random.Generator, palette: Palette, distance: float) -> list[Solid]:
    """A floor, a wall and a few blocks far behind the object."""
    back = distance * rng.uniform(1.6, 3.0)
    wall = vector(0, 0, back + 0.5)
    solids = [
        Solid(BOX, vector(0, -1, 0), vector(200, 1, 200), palette.add(rng, *DULL)),
        Solid(BOX, wall, vector(100, 30, 0.5), palette.add(rng, *DULL), yaw(rng.normal(0, 0.2))),
    ]
    for _ in range(rng.integers(0, 5)):
        half = rng.uniform(0.1, 0.6, 3).astype(np.float32) * (distance / 3)
        spot = vector(rng.uniform(-1, 1) * back * 0.5, half[1], back - half[2])
        solids.append(Solid(BOX, spot, half, palette.add(rng, *DULL), yaw(rng.uniform(0, 3))))
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
    palette = Palette.draw(who)
    parts = compound(who, palette)
    body_nir = _near_infrared(palette.materials, who)

    fixed = np.random.default_rng([VERSION, 12, seed, camera])  # the camera's own place and look
    rise, tint = fixed.uniform(0.1, 0.4), fixed.uniform(0.92, 1.08, 3).astype(np.float32)
    rng = np.random.default_rng([VERSION, 13, seed, identity, camera, index])
    turned = place(parts, vector(0, 0, 0), float(BEARINGS[camera % CAMERAS] + rng.normal(0, HEADING)))
    low, high = extent(turned)
    distance = float((high - low).max()) / rng.uniform(0.8, 1.0) / 0.7 + float(high[2] - low[2]) / 2
    turned = place(turned, vector(rng.normal(0, 0.03) * distance, 0, distance), label=1)
    height = float(high[1]) / 2 + distance * rise
    eye = Pinhole(size, size[1] / 0.7, height, float(np.arctan(rise)))

    street = _street(rng, palette, distance)
    nir = Palette(palette.tiles, body_nir + _near_infrared(palette.materials[len(body_nir) :], rng))
    light, lit = int(rng.integers(1 << 31)), np.ones(size, np.float32)
    with np.errstate(all="ignore"):
        buffer = drawn(eye, street + turned)
        colour, grey = (shade(buffer, one, lit, np.random.default_rng(light)) for one in (palette, nir))
    spectra = expose(colour * tint, rng), expose(grey, rng).mean(axis=2, keepdims=True).astype(np.uint8)
    return spectra[0], np.repeat(spectra[1], 3, axis=2)


class SyntheticIdentities(Rendered):
    """Identities seen by CAMERAS cameras VIEWS times each, in the order of ``locate``."""

    KIND, VERSION, COUNTS = "identities", VERSION, (2, MOST_IDENTITIES)

    def __len__(self) -> int:
        return self.count * CAMERAS * VIEWS

    def locate(self, index: int) -> tuple[int, int, int]:
        """Identity, camera and view of sample ``index``."""
        identity, rest = divmod(index, CAMERAS * VIEWS)
        return identity, *divmod(rest, VIEWS)

    def sample(self, index: int) -> dict[str, NDArray[Any]]:
        """``rgb`` and ``nir`` of view ``index``, uint8 (H, W, 3) each; :meth:`locate` gives its identity and camera."""
        rgb, nir = view(self.seed, *self.locate(index), self.size)
        return {"rgb": rgb, "nir": nir}
