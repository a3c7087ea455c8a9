"""Materials and procedural textures of one scene, and the shading of its geometry buffer.

Every scene draws its own colours and texture tiles from its seed, so a held-out seed is a held-out set of textures.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.scenes.primitives import Array, GeometryBuffer

Rng = np.random.Generator
Range = tuple[float, float]
Colour = tuple[float, ...]
TILE = 128  # pixels per texture tile, a power of two
TILES = 5  # textures of one scene
ANY: Range = (0.0, 1.0)
# Kind of material → ranges of hue, saturation, value and gloss, and the probability of a texture.
KINDS: dict[str, tuple[Range, Range, Range, Range, float]] = {
    "paint": (ANY, (0.4, 1), (0.3, 1), (0.3, 1), 0.35),
    "matte": (ANY, ANY, (0.1, 0.95), (0, 0.3), 0.35),
    "printed": (ANY, ANY, (0.1, 0.95), (0, 0.3), 1.0),
    "wood": ((0.04, 0.12), (0.2, 0.7), (0.25, 0.9), (0, 0.3), 1.0),
    "metal": (ANY, (0, 0.15), (0.4, 0.9), (1, 1), 0.0),
    "dark": (ANY, (0, 0.4), (0.02, 0.2), (0, 0.3), 0.0),
    "pale": (ANY, (0, 0.25), (0.6, 1), (0, 0.3), 0.0),
    "floor": (ANY, (0, 0.4), (0.1, 0.95), (0, 0.3), 0.85),
}
OBJECTS = ("paint", "matte", "matte", "wood", "metal", "dark", "pale", "printed")  # what things are made of


def _noise(rng: Rng, stretch: float) -> Array:
    """(TILE, TILE) in [0, 1]: octaves of smooth noise; ``stretch`` above 1 is the grain of wood or brushed metal."""
    tile = np.zeros((TILE, TILE), np.float32)
    for octave in range(4):
        n = 4 << octave
        grid = rng.standard_normal((n, max(2, int(n / stretch)))).astype(np.float32)
        tile += cv2.resize(grid, (TILE, TILE), interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return np.clip(tile * 0.3 + 0.5, 0, 1)


def texture_tile(rng: Rng) -> Array:
    """(TILE, TILE) float32 in [0, 1]: noise, grain, stripes, checks or lettering-like bars."""
    kind = rng.integers(5)
    if kind < 2:
        return _noise(rng, rng.uniform(4, 16) if kind else 1.0)
    v, u = np.indices((TILE, TILE), np.float32)
    period = TILE / int(rng.integers(2, 12))
    if kind == 2:
        lit = np.mod(u * rng.uniform(-1, 1) + v, period) < period * rng.uniform(0.2, 0.8)
        return np.asarray(lit, dtype=np.float32)
    if kind == 3:
        return np.asarray((np.floor(u / period) + np.floor(v / period)) % 2 * 0.8 + 0.2 * _noise(rng, 1))
    tile = np.full((TILE, TILE), 0.1, np.float32)
    for _ in range(rng.integers(5, 30)):
        x, y = rng.integers(0, TILE, 2)
        tile[y : y + rng.integers(2, 14), x : x + rng.integers(2, 50)] = rng.uniform(0, 1)
    return tile


class Material(NamedTuple):
    """Two colours in [0, 1] blended by a texture: ``tile`` is its number, ``per_metre`` its repetitions."""

    first: Colour
    second: Colour
    tile: int
    per_metre: float
    gloss: float


@dataclass
class Palette:
    """The materials of one scene, named by their numbers, and the texture tiles that they use; tile 0 is flat."""

    tiles: Array
    materials: list[Material] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: Rng) -> Palette:
        """An empty palette with tiles of its own."""
        return cls(np.stack([np.full((TILE, TILE), 0.5, np.float32), *[texture_tile(rng) for _ in range(TILES)]]))

    def column(self, name: str) -> Array:
        """One field of all materials, float32: (M,) or, of colours, (M, 3)."""
        return np.array([getattr(material, name) for material in self.materials], np.float32)

    def add(self, rng: Rng, *kinds: str) -> int:
        """Draw a new material of one of ``kinds`` (default: what things are made of); returns its number."""
        kind = str(rng.choice(kinds or OBJECTS))
        *ranges, textured = KINDS[kind]
        hue, saturation, value, gloss = (rng.uniform(*one) for one in ranges)
        tile = int(rng.integers(1, TILES + 1)) if rng.random() < textured else 0
        first = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
        other = 0.3 * first if kind in ("wood", "floor") else rng.random(3)  # shades of one colour, or another colour
        second = first + rng.uniform(0.05, 0.6) * (other - first) * (tile > 0)
        per_metre = rng.uniform(0.4, 4)
        self.materials.append(Material(tuple(first.tolist()), tuple(second.tolist()), tile, per_metre, gloss))
        return len(self.materials) - 1


def shade(buffer: GeometryBuffer, palette: Palette, shadow: Array, rng: Rng) -> NDArray[np.float32]:
    """Linear radiance (H, W, 3), about 1 at white. ``shadow`` (H, W): 1 = lit, 0 = in shadow."""
    material = buffer.material
    tile = palette.column("tile").astype(np.int32)[material]
    frequency = palette.column("per_metre")[material] * (TILE - 1)
    uv = (buffer.surface * frequency).astype(np.int32) & (TILE - 1)
    blend = palette.tiles[tile, uv[1], uv[0]][..., None]
    albedo = palette.column("first")[material] * (1 - blend) + palette.column("second")[material] * blend
    sun = light_direction(rng)
    diffuse = np.maximum(np.einsum("i,ihw->hw", sun, buffer.normal), 0) * shadow
    ambient = rng.uniform(0.25, 0.6)
    sky = (0.65 + 0.35 * buffer.normal[1]) * (0.5 + 0.5 * shadow)
    warmth = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    light = ambient * sky[..., None] + (1 - ambient) * 1.3 * diffuse[..., None] * warmth
    rays = buffer.camera.rays
    # Blinn-Phong: the highlight is brightest where the normal halves the angle between light and eye.
    half = sun[:, None, None] - rays / np.linalg.norm(rays, axis=0)
    shine = np.maximum((half * buffer.normal).sum(0) / np.linalg.norm(half, axis=0), 0) ** 30
    highlight = 0.7 * shine * palette.column("gloss")[material] * shadow
    distance = np.minimum(buffer.depth / np.median(buffer.depth), 4)
    falloff = 1.0 / (1.0 + rng.uniform(0, 0.25) * distance**2)
    return np.asarray((albedo * light + highlight[..., None]) * falloff[..., None], np.float32)


def light_direction(rng: Rng) -> Array:
    """Unit vector towards the main light, above the floor, mostly from the camera's side."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(0.6, 2.0), rng.uniform(-1.0, 0.5)], np.float32)
    return np.asarray(direction / np.linalg.norm(direction))
