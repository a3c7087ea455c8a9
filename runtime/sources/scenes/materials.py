"""Materials and procedural textures of one scene, and the shading of its geometry buffer.

Every scene draws its own colours and texture tiles from its seed, so a held-out seed is a held-out set of textures.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.scenes.primitives import Array, GeometryBuffer

Rng = np.random.Generator
TILE = 128  # pixels per texture tile
NOISE, GRAIN, PLANKS, STRIPES, CHECKS, DOTS, PRINT = range(7)  # kinds of texture
KINDS = 7


def _noise(rng: Rng, octaves: int, stretch: float) -> Array:
    tile = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        n = 4 << octave
        grid = rng.standard_normal((n, max(2, int(n / stretch)))).astype(np.float32)
        tile += cv2.resize(grid, (TILE, TILE), interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return np.clip(tile * 0.3 + 0.5, 0, 1)


def texture_tile(rng: Rng) -> Array:
    """(TILE, TILE) float32 in [0, 1]: noise, grain, stripes, checks, dots or lettering-like bars."""
    kind = int(rng.integers(KINDS))
    if kind == NOISE:
        return _noise(rng, 5, 1.0)
    if kind == GRAIN:  # of wood, of brushed metal
        return _noise(rng, 4, float(rng.uniform(4, 16)))
    u, v = np.meshgrid(np.arange(TILE, dtype=np.float32), np.arange(TILE, dtype=np.float32))
    period = TILE / int(rng.integers(2, 12))
    if kind == PLANKS:
        board = np.floor(v / period)
        shades = 0.6 * np.modf(np.sin(board * 12.9898) * 43758.547)[0] ** 2 + 0.2
        return np.asarray(np.clip(0.25 * _noise(rng, 4, 8) + shades, 0, 1) * (np.mod(v, period) > 1.5))
    if kind == STRIPES:
        lit = np.mod(u * rng.uniform(-1, 1) + v, period) < period * rng.uniform(0.2, 0.8)
        return np.asarray(lit, dtype=np.float32)
    if kind == CHECKS:  # tiles with joints
        return np.asarray((np.floor(u / period) + np.floor(v / period)) % 2 * 0.8 + 0.2 * _noise(rng, 5, 1))
    if kind == DOTS:
        radius = np.hypot(np.mod(u, period) - period / 2, np.mod(v, period) - period / 2)
        return np.asarray(radius < period * rng.uniform(0.2, 0.45), dtype=np.float32)
    tile = np.full((TILE, TILE), 0.1, np.float32)  # PRINT: bars and blocks
    for _ in range(int(rng.integers(5, 30))):
        x, y = rng.integers(0, TILE, 2)
        w, h = rng.integers(2, 50), rng.integers(2, 14)
        tile[y : y + h, x : x + w] = rng.uniform(0, 1)
    return tile


Colour = tuple[float, float, float]


class Material(NamedTuple):
    """Two colours in [0, 1] blended by a texture: ``tile`` is its number, ``per_metre`` its repetitions."""

    first: Colour
    second: Colour
    tile: int
    per_metre: float
    gloss: float
    metal: float


class Palette:
    """The materials of one scene, given out by number on demand, and the texture tiles that they use."""

    def __init__(self, tiles: Array, materials: Sequence[Material] = ()) -> None:
        self.tiles, self.materials = tiles, list(materials)

    @classmethod
    def draw(cls, rng: Rng) -> Palette:
        """An empty palette with tiles of its own."""
        tiles = np.stack([np.full((TILE, TILE), 0.5, np.float32), *[texture_tile(rng) for _ in range(5)]])
        rng.random()  # drawn for nothing: without it every scene after it would be another one
        return cls(tiles)

    def add(self, material: Material) -> int:
        """Keep ``material``; returns the number by which objects name it."""
        self.materials.append(material)
        return len(self.materials) - 1

    def column(self, name: str) -> Array:
        """One field of all materials, float32: (M,) or, of colours, (M, 3)."""
        return np.array([getattr(material, name) for material in self.materials], np.float32)

    def any(self, rng: Rng) -> int:
        """A material of any kind."""
        kinds = ("paint", "matte", "matte", "wood", "metal", "dark", "pale", "printed")
        return self.make(rng, str(rng.choice(kinds)))

    def pick(self, rng: Rng, *kinds: str) -> list[int]:
        """One new material for each kind."""
        return [self.any(rng) if kind == "any" else self.make(rng, kind) for kind in kinds]

    def make(self, rng: Rng, kind: str) -> int:
        """A new material of ``kind`` with random colour, texture and gloss; returns its number."""
        hue, tile, gloss, metal = float(rng.random()), 0, float(rng.uniform(0, 0.3)), 0.0
        saturation, value = float(rng.uniform(0, 1)), float(rng.uniform(0.1, 0.95))
        if kind == "paint":
            saturation, value, gloss = (
                float(rng.uniform(0.4, 1)),
                float(rng.uniform(0.3, 1)),
                float(rng.uniform(0.3, 1)),
            )
        elif kind == "wood":
            hue, saturation, value = (
                float(rng.uniform(0.04, 0.12)),
                float(rng.uniform(0.2, 0.7)),
                float(rng.uniform(0.25, 0.9)),
            )
            tile = int(rng.integers(1, len(self.tiles)))
        elif kind == "metal":
            saturation, value, gloss, metal = float(rng.uniform(0, 0.15)), float(rng.uniform(0.4, 0.9)), 1.0, 1.0
        elif kind in ("dark", "rubber"):
            saturation, value = float(rng.uniform(0, 0.4)), float(rng.uniform(0.02, 0.2))
        elif kind == "pale":
            saturation, value = float(rng.uniform(0, 0.25)), float(rng.uniform(0.6, 1.0))
        elif kind == "leaf":
            hue, saturation, value = (
                float(rng.uniform(0.18, 0.42)),
                float(rng.uniform(0.3, 1)),
                float(rng.uniform(0.2, 0.8)),
            )
        elif kind == "floor":
            saturation, tile = saturation * float(rng.uniform(0, 0.7)), int(rng.integers(0, len(self.tiles)))
        if kind in ("matte", "printed", "paint") and rng.random() < (1.0 if kind == "printed" else 0.35):
            tile = int(rng.integers(1, len(self.tiles)))
        a = colorsys.hsv_to_rgb(hue, saturation, value)
        contrast = float(rng.uniform(0.05, 0.6)) if tile else 0.0
        other = colorsys.hsv_to_rgb(float(rng.random()), float(rng.random()), float(rng.random()))
        if kind in ("wood", "floor"):  # shades of one colour
            other = (a[0] * 0.3, a[1] * 0.3, a[2] * 0.3)
        red, green, blue = ((1 - contrast) * x + contrast * y for x, y in zip(a, other, strict=True))
        return self.add(Material(a, (red, green, blue), tile, float(rng.uniform(0.4, 4)), gloss, metal))


def shade(buffer: GeometryBuffer, palette: Palette, shadow: Array, rng: Rng) -> NDArray[np.float32]:
    """Linear radiance (H, W, 3), about 1 at white. ``shadow`` (H, W): 1 = lit, 0 = in shadow."""
    material = buffer.material
    tile = palette.column("tile").astype(np.int32)[material]
    frequency = palette.column("per_metre")[material] * (TILE - 1)
    uv = (buffer.surface * frequency).astype(np.int32) & (TILE - 1)
    blend = palette.tiles[tile, uv[1], uv[0]][..., None]
    albedo = palette.column("first")[material] * (1 - blend) + palette.column("second")[material] * blend
    gloss, metal = palette.column("gloss")[material], palette.column("metal")[material]

    rays = buffer.camera.rays
    view = -rays / np.sqrt((rays * rays).sum(0))
    sun = light_direction(rng)
    diffuse = np.maximum(np.einsum("i,ihw->hw", sun, buffer.normal), 0) * shadow
    ambient = float(rng.uniform(0.25, 0.6))
    sky = 0.65 + 0.35 * buffer.normal[1]
    warmth = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    light = (ambient * sky)[..., None] * (0.5 + shadow[..., None] * 0.5) + (1 - ambient) * 1.3 * diffuse[
        ..., None
    ] * warmth
    half = sun[:, None, None] + view
    half /= np.sqrt((half * half).sum(0))
    highlight = np.maximum((half * buffer.normal).sum(0), 0) ** 30 * gloss * shadow
    # Metal mirrors a room that is bright above, dark at the horizon and floor-coloured below.
    mirror_y = 2 * (view * buffer.normal).sum(0) * buffer.normal[1] - view[1]
    room = np.where(mirror_y > 0.1, 0.3 + 0.9 * mirror_y, 0.12 + 0.35 * np.abs(mirror_y))
    body = albedo * light
    body = body * (1 - 0.8 * metal[..., None]) + albedo * (metal * room)[..., None]
    distance = np.minimum(buffer.depth / np.median(buffer.depth), 4)
    falloff = 1.0 / (1.0 + float(rng.uniform(0, 0.25)) * distance**2)
    return np.asarray((body + 0.7 * highlight[..., None]) * falloff[..., None], np.float32)


def light_direction(rng: Rng) -> Array:
    """Unit vector towards the main light, above the floor, mostly from the camera's side."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(0.6, 2.0), rng.uniform(-1.0, 0.5)], np.float32)
    return np.asarray(direction / np.float32(np.linalg.norm(direction)))
