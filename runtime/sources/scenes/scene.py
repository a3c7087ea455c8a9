"""Seeded synthetic RGB-D scenes with exact masks.

**What is salient**: the one to three compound objects that stand free in the foreground, whatever their colour. Not
salient: the floor, the walls, shelving and its contents, furniture and objects along the far wall even when they are
bright or of the same families as the salient ones, and anything lying flat on the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.frame import DataError, Item
from mutualformer.runtime.sources.scenes import rooms
from mutualformer.runtime.sources.scenes.cache import render
from mutualformer.runtime.sources.scenes.materials import Palette, light_direction, shade
from mutualformer.runtime.sources.scenes.objects import compound, extent, place, vector
from mutualformer.runtime.sources.scenes.primitives import Array, GeometryBuffer, Pinhole, Solid, intersect
from mutualformer.runtime.sources.scenes.sensor import expose, measure

GENERATOR_VERSION = 2  # counts changes that make another picture from the same seed
SHADOW_CELLS = 72


@dataclass(frozen=True)
class Scene:
    """``rgb`` (H, W, 3) uint8; ``depth`` (H, W) float32 metres, 0 = no measurement; ``mask`` (H, W) uint8, 0 or 255.

    ``true_depth``: the same without the sensor's noise and holes.
    """

    rgb: NDArray[np.uint8]
    depth: Array
    mask: NDArray[np.uint8]
    true_depth: Array


def _foreground(rng: np.random.Generator, palette: Palette, view: float) -> tuple[list[Solid], float]:
    """The salient objects, labels 1, 2, …, with their feet on the floor, and how far back they reach.

    ``view``: width of what the camera sees, per metre of distance. Sizes are chosen on the screen first.
    """
    count = int(rng.choice([1, 2, 3], p=[0.68, 0.22, 0.10]))
    solids: list[Solid] = []
    low = high = None
    nearest = 0.0
    for label in range(1, count + 1):
        parts = compound(rng, palette)
        angle = float(rng.normal(0, 0.7)) + (np.pi if rng.random() < 0.5 else 0.0)
        parts = place(parts, 1.0, angle, vector(0, 0, 0), label)
        low, high = extent(parts)
        size = high - low
        share = float(rng.uniform(0.3, 1.0)) / (1, 1.35, 1.8)[count - 1]  # of the picture's width
        largest = max(float(size[0]), float(size[1]))
        distance = largest / (share * view) + float(size[2]) / 2
        if label == 1:
            nearest = distance
            x = float(rng.normal(0, 0.12)) * (1 - share) * view * distance
        else:  # beside the others: bring it to a like distance by scaling it
            nearby = nearest * float(rng.uniform(0.85, 1.3))
            parts = place(parts, nearby / distance, 0.0, vector(0, 0, 0), label)
            distance = nearby
            x = float(rng.uniform(-0.42, 0.42)) * view * distance
        solids += place(parts, 1.0, 0.0, vector(x, 0, distance), label)
    _, high = extent(solids)
    return solids, float(high[2])


def _shadow(solids: list[Solid], buffer: GeometryBuffer, sun: Array, rng: np.random.Generator) -> Array:
    """(H, W) 1 = lit … 0 = shadow: shadows of the objects on the floor, ray-cast on a grid there, then softened."""
    low, high = extent(solids)
    reach = sun[[0, 2]] / sun[1] * high[1]  # where the top's shadow falls, relative to its foot
    corner = np.minimum(low[[0, 2]], low[[0, 2]] - reach) - 0.3
    span = np.maximum(high[[0, 2]], high[[0, 2]] - reach) + 0.3 - corner
    cells = (np.arange(SHADOW_CELLS, dtype=np.float32) + 0.5) / SHADOW_CELLS
    grid = np.zeros((3, SHADOW_CELLS, SHADOW_CELLS), np.float32)
    grid[0] = corner[0] + span[0] * cells[None, :]
    grid[2] = corner[1] + span[1] * cells[:, None]
    grid[1] = 0.004
    flat = grid.reshape(3, -1)
    dark = np.zeros(flat.shape[1], bool)
    for solid in solids:
        dark |= np.isfinite(intersect(solid, flat, sun[:, None]))
    soft = cv2.GaussianBlur(1.0 - dark.reshape(SHADOW_CELLS, -1).astype(np.float32), (0, 0), float(rng.uniform(0.6, 3)))
    point = buffer.camera.origin[:, None, None] + buffer.depth * buffer.camera.rays
    u = ((point[0] - corner[0]) / span[0] * SHADOW_CELLS - 0.5).astype(np.float32)
    v = ((point[2] - corner[1]) / span[1] * SHADOW_CELLS - 0.5).astype(np.float32)
    lit = cv2.remap(soft, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    strength = float(rng.uniform(0.3, 1.0))
    return np.where(np.abs(point[1]) < 0.03, 1 - strength * (1 - lit), 1.0).astype(np.float32)


def scene(seed: int, size: tuple[int, int] = (320, 320)) -> Scene:
    """The scene of ``seed`` at ``size`` (height, width). The same seed gives the same scene, bit for bit."""
    with np.errstate(all="ignore"):  # rays parallel to a face divide by zero: infinities compare as they should
        for attempt in range(8):
            candidate = _attempt(np.random.default_rng([GENERATOR_VERSION, seed, attempt]), size)
            covered = float((candidate.mask > 0).mean())
            if 0.02 < covered < 0.7:
                return candidate
        return candidate


@dataclass(frozen=True)
class Stage:
    """A room with its objects, before anything is drawn. ``camera`` sees it; ``objects`` are the salient ones."""

    palette: Palette
    camera: Pinhole
    objects: list[Solid]
    scenery: list[Solid]
    light_seed: int

    def draw(self, camera: Pinhole, objects: bool = True) -> GeometryBuffer:
        """What ``camera`` sees of it, front to back; ``objects``: the salient ones too."""
        buffer = GeometryBuffer(camera)
        for solid in sorted(self.scenery + (self.objects if objects else []), key=lambda s: float(s.centre[2])):
            buffer.draw(solid)
        buffer.depth = np.minimum(buffer.depth, np.float32(1000))
        return buffer

    def light(self, buffer: GeometryBuffer, rng: np.random.Generator) -> NDArray[np.float32]:
        """Linear radiance (H, W, 3) of a drawn buffer, with the objects' shadows on the floor."""
        shadow = _shadow(self.objects, buffer, light_direction(np.random.default_rng(self.light_seed)), rng)
        return shade(buffer, self.palette, shadow, np.random.default_rng(self.light_seed))


def set_up(rng: np.random.Generator, size: tuple[int, int]) -> Stage:
    """A random room for pictures of ``size`` (height, width)."""
    columns = size[1]
    palette = Palette.draw(rng)
    focal = columns / (2 * np.tan(rng.uniform(np.radians(18), np.radians(35))))
    view = columns / focal
    objects, back = _foreground(rng, palette, view)
    low, high = extent(objects)
    middle = (low + high) / 2
    # Aim near the objects' middle from a little to well above it.
    height = float(middle[1] + middle[2] * rng.uniform(0.02, 0.55))
    pitch = float(np.arctan2(height - middle[1], middle[2]) + rng.normal(0, 0.05))
    camera = Pinhole(size, float(focal), height, pitch)
    free = float(high[1] - low[1] + 0.3) * float(rng.uniform(0.25, 2.0))  # empty floor behind the objects
    wall = back + free + float(rng.uniform(0.15, 1.6))
    half_width = wall * view / 2
    solids = rooms.shell(rng, palette, wall, half_width)
    solids += rooms.furnish(rng, palette, wall, back + free, half_width)
    solids += rooms.litter(rng, palette, float(low[2]) * 0.6, wall, half_width * 0.8)
    return Stage(palette, camera, objects, solids, int(rng.integers(1 << 31)))


def _attempt(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    stage = set_up(rng, size)
    buffer = stage.draw(stage.camera)
    radiance = stage.light(buffer, rng)
    mask = np.where(buffer.label > 0, 255, 0).astype(np.uint8)
    scale = float(np.exp(rng.uniform(np.log(0.35), np.log(1.8))))  # from a tabletop to a hall
    true_depth = buffer.depth * np.float32(scale)
    gloss = stage.palette.column("gloss")[buffer.material]
    depth = measure(true_depth, stage.camera.focal, gloss, rng)
    return Scene(expose(radiance, rng), depth, mask, true_depth)


class SyntheticScenes:
    """``count`` scenes from ``seed``, rendered on demand. Different seeds share no scene below 10⁸ of them."""

    KIND, VERSION = "scenes", GENERATOR_VERSION
    has_depth = True

    def __init__(self, count: int, seed: int = 0, size: tuple[int, int] = (320, 320)) -> None:
        if count < 1 or seed < 0:
            raise DataError(f"synthetic:{count}?seed={seed}: expected at least one scene and a seed ≥ 0")
        self.count, self.seed, self.size = count, seed, size

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, *arguments: int) -> SyntheticScenes:
        """The inverse of :attr:`arguments`."""
        count, seed, height, width = arguments
        return cls(count, seed, (height, width))

    @property
    def arguments(self) -> tuple[int, ...]:
        """(count, seed, height, width)."""
        return (self.count, self.seed, *self.size)

    def scene(self, index: int) -> Scene:
        """Render scene ``index``. Raises IndexError outside 0 … count − 1."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return scene(self.seed * 100_000_000 + index, self.size)

    def __getitem__(self, index: int) -> Item:
        rendered = self.scene(index)
        return Item(rendered.rgb, rendered.depth, rendered.mask, self.name(index))

    def name(self, index: int) -> str:
        """The frame's name, e.g. "seed3-00012"."""
        return f"seed{self.seed}-{index:05d}"

    def layout(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Depth is cached as depth cameras store it: 16-bit millimetres."""
        return {"rgb": ("u1", (*self.size, 3)), "depth": ("u2", self.size), "mask": ("u1", self.size)}

    def sample(self, index: int) -> dict[str, NDArray[Any]]:
        """``rgb`` uint8 (H, W, 3), ``depth`` uint16 (H, W) millimetres, 0 = hole, ``mask`` uint8 (H, W)."""
        rendered = self.scene(index)
        millimetres = np.minimum(np.round(rendered.depth * 1000), 65535).astype(np.uint16)
        return {"rgb": rendered.rgb, "depth": millimetres, "mask": rendered.mask}


class CachedScenes:
    """The same scenes read from the disk cache, rendered first if need be."""

    has_depth = True

    def __init__(self, scenes: SyntheticScenes, workers: int | None = None) -> None:
        self.scenes, self.arrays = scenes, render(scenes, workers)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rgb, depth, mask = (self.arrays[name][index] for name in ("rgb", "depth", "mask"))
        metres = depth.astype(np.float32) * np.float32(0.001)
        return Item(np.array(rgb), metres, np.array(mask), self.scenes.name(index))
