"""Seeded synthetic RGB-D scenes with exact masks.

**What is salient**: the one to three compound objects that stand free in the foreground, whatever their colour. Not
salient: the floor, the walls, furniture and objects along the far wall even when they are bright or of the same
families as the salient ones, and anything lying flat on the floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.sources.scenes import rooms
from mutualformer.runtime.sources.scenes.cache import Rendered
from mutualformer.runtime.sources.scenes.materials import Palette, light_direction, shade
from mutualformer.runtime.sources.scenes.objects import compound, extent, place, vector
from mutualformer.runtime.sources.scenes.primitives import Array, GeometryBuffer, Pinhole, Solid, intersect
from mutualformer.runtime.sources.scenes.sensor import expose, measure

GENERATOR_VERSION = 3  # counts changes that make another picture from the same seed
FAR_M = 1000.0  # depth where a ray meets nothing
SHADOW_STEP = 4  # pixels from one shadow ray to the next
FLOOR_M = 0.03  # height below which a point counts as floor
ATTEMPTS, LEAST_COVERED, MOST_COVERED = 8, 0.02, 0.7  # shares of the picture that salient objects may cover
SCENES_A_SEED = 100_000_000  # so that different seeds share no scene


@dataclass(frozen=True)
class Scene:
    """``rgb`` (H, W, 3) uint8; ``depth`` (H, W) float32 metres, 0 = no measurement; ``mask`` (H, W) uint8, 0 or 255.

    ``true_depth``: the same without the sensor's noise and holes.
    """

    rgb: NDArray[np.uint8]
    depth: Array
    mask: NDArray[np.uint8]
    true_depth: Array


def scene(seed: int, size: tuple[int, int] = (320, 320)) -> Scene:
    """The scene of ``seed`` at ``size`` (height, width). The same seed gives the same scene, bit for bit."""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([GENERATOR_VERSION, seed, attempt])
        stage = set_up(rng, size)
        buffer, radiance = stage.picture(stage.camera, rng)
        mask = np.where(buffer.label > 0, 255, 0).astype(np.uint8)
        if LEAST_COVERED < (mask > 0).mean() < MOST_COVERED:
            break
    scale = float(np.exp(rng.uniform(np.log(0.35), np.log(1.8))))  # from a tabletop to a hall
    true_depth = buffer.depth * scale
    gloss = stage.palette.column("gloss")[buffer.material]
    depth = measure(true_depth, stage.camera.focal, gloss, rng)
    return Scene(expose(radiance, rng), depth, mask, true_depth)


@dataclass(frozen=True)
class Stage:
    """A room with its objects, before anything is drawn. ``camera`` sees it; ``objects`` are the salient ones."""

    palette: Palette
    camera: Pinhole
    objects: list[Solid]
    scenery: list[Solid]
    light_seed: int

    def picture(self, camera: Pinhole, rng: np.random.Generator) -> tuple[GeometryBuffer, NDArray[np.float32]]:
        """What ``camera`` sees, and its linear radiance (H, W, 3) with the objects' shadows on the floor."""
        with np.errstate(all="ignore"):  # rays parallel to a face divide by zero: infinities compare as they should
            buffer = drawn(camera, self.scenery + self.objects)
            shadow = _shadow(self.objects, buffer, light_direction(np.random.default_rng(self.light_seed)), rng)
            return buffer, shade(buffer, self.palette, shadow, np.random.default_rng(self.light_seed))


def drawn(camera: Pinhole, solids: list[Solid]) -> GeometryBuffer:
    """The buffer of ``solids``, front to back; where nothing is, depth is :data:`FAR_M`."""
    buffer = GeometryBuffer(camera)
    for solid in sorted(solids, key=lambda solid: float(solid.centre[2])):
        buffer.draw(solid)
    buffer.depth = np.minimum(buffer.depth, FAR_M)
    return buffer


def set_up(rng: np.random.Generator, size: tuple[int, int]) -> Stage:
    """A random room for pictures of ``size`` (height, width)."""
    palette = Palette.draw(rng)
    view = 2 * float(np.tan(rng.uniform(np.radians(18), np.radians(35))))  # width that is seen, per metre of distance
    objects = _foreground(rng, palette, view)
    low, high = extent(objects)
    middle, back = (low + high) / 2, float(high[2])
    # Aim near the objects' middle from a little to well above it.
    height = float(middle[1] + middle[2] * rng.uniform(0.02, 0.55))
    pitch = float(np.arctan2(height - middle[1], middle[2]) + rng.normal(0, 0.05))
    camera = Pinhole(size, size[1] / view, height, pitch)
    free = float(high[1] - low[1] + 0.3) * rng.uniform(0.25, 2.0)  # empty floor behind the objects
    wall = back + free + rng.uniform(0.15, 1.6)
    half_width = wall * view / 2
    solids = rooms.shell(rng, palette, wall, half_width)
    solids += rooms.furnish(rng, palette, wall, back + free, half_width)
    solids += rooms.litter(rng, palette, float(low[2]) * 0.6, wall, half_width * 0.8)
    return Stage(palette, camera, objects, solids, int(rng.integers(1 << 31)))


def _foreground(rng: np.random.Generator, palette: Palette, view: float) -> list[Solid]:
    """The salient objects, labels 1, 2, …, with their feet on the floor.

    ``view``: width of what the camera sees, per metre of distance. Sizes are chosen on the screen first.
    """
    count = int(rng.choice([1, 2, 3], p=[0.68, 0.22, 0.10]))
    solids: list[Solid] = []
    nearest = 0.0
    for label in range(1, count + 1):
        parts = place(compound(rng, palette), vector(0, 0, 0), rng.uniform(0, 6.3))
        low, high = extent(parts)
        size = high - low
        share = rng.uniform(0.3, 1.0) / (1, 1.35, 1.8)[count - 1]  # of the picture's width
        distance = max(float(size[0]), float(size[1])) / (share * view) + float(size[2]) / 2
        scale, x = 1.0, rng.normal(0, 0.12) * (1 - share)
        if label == 1:
            nearest = distance
        else:  # beside the others: scaled, so that it has the same size on the screen at a like distance
            near = nearest * rng.uniform(0.85, 1.3)
            scale, distance, x = near / distance, near, rng.uniform(-0.42, 0.42)
        solids += place(parts, vector(x * view * distance, 0, distance), scale=scale, label=label)
    return solids


def _shadow(solids: list[Solid], buffer: GeometryBuffer, sun: Array, rng: np.random.Generator) -> Array:
    """(H, W) 1 = lit … 0 = shadow: where the floor does not see the sun for ``solids``, softened."""
    point = buffer.camera.origin[:, None, None] + buffer.depth * buffer.camera.rays
    coarse = np.ascontiguousarray(point[:, ::SHADOW_STEP, ::SHADOW_STEP])
    dark = np.zeros(coarse[0].size, bool)
    for solid in solids:
        dark |= np.isfinite(intersect(solid, coarse.reshape(3, -1), sun[:, None]))
    soft = cv2.resize(dark.reshape(coarse.shape[1:]).astype(np.float32), buffer.depth.shape[::-1])
    soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.6, 3))
    return np.where(np.abs(point[1]) < FLOOR_M, 1 - rng.uniform(0.3, 1.0) * soft, 1.0).astype(np.float32)


class SyntheticScenes(Rendered):
    """Scenes rendered on demand, or read from ``arrays`` where these were rendered before."""

    KIND, VERSION, COUNTS = "scenes", GENERATOR_VERSION, (1, SCENES_A_SEED)
    has_depth = True
    arrays: Mapping[str, NDArray[Any]] | None = None

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.count:
            raise IndexError(index)
        kept = self.arrays
        arrays = self.sample(index) if kept is None else {name: np.array(kept[name][index]) for name in kept}
        metres = arrays["depth"].astype(np.float32) * 0.001
        return Item(arrays["rgb"], metres, arrays["mask"], self.name(index))

    def name(self, index: int) -> str:
        """The frame's name, e.g. "seed3-00012"."""
        return f"seed{self.seed}-{index:05d}"

    def sample(self, index: int) -> dict[str, NDArray[Any]]:
        """``rgb`` uint8 (H, W, 3), ``depth`` uint16 (H, W) millimetres, 0 = hole, ``mask`` uint8 (H, W)."""
        rendered = scene(self.seed * SCENES_A_SEED + index, self.size)
        millimetres = np.minimum(np.round(rendered.depth * 1000), 65535).astype(np.uint16)
        return {"rgb": rendered.rgb, "depth": millimetres, "mask": rendered.mask}
