"""Backgrounds: floor, walls, furniture and boxes along the wall, flat things on the floor.

Everything drawn here has label 0, however bright, near the wall or familiar in shape it is.
"""

from __future__ import annotations

import numpy as np

from mutualformer.runtime.sources.scenes.materials import Palette
from mutualformer.runtime.sources.scenes.objects import compound, extent, place, vector
from mutualformer.runtime.sources.scenes.primitives import BOX, SPHERE, Solid, yaw

Rng = np.random.Generator


def shell(rng: Rng, palette: Palette, wall: float, half_width: float) -> list[Solid]:
    """Floor at y = 0, the far wall at about z = ``wall`` and, some of the time, side walls and wall panels."""
    back = palette.add(rng, "floor", "pale", "wood", "matte")
    turn = yaw(rng.normal(0, 0.12))
    far = wall + (0.5 if rng.random() < 0.92 else 30)  # otherwise the floor reaches the horizon
    parts = [
        Solid(BOX, vector(0, -1, 0), vector(200, 1, 200), palette.add(rng, "floor")),
        Solid(BOX, vector(0, 0, far), vector(300, 60, 0.5), back, turn),
    ]
    for sign in (-1, 1):
        if rng.random() < 0.3:
            x = sign * (half_width * rng.uniform(1.0, 1.6) + 0.5)
            parts.append(Solid(BOX, vector(x, 0, wall), vector(0.5, 30, 40), back))
    for _ in range(rng.integers(0, 5)):  # panels, posters, windows
        half = vector(rng.uniform(0.1, 0.5) * half_width, rng.uniform(0.2, 1.2), rng.uniform(0.005, 0.06))
        spot = vector(rng.uniform(-1, 1) * half_width, rng.uniform(0.2, 2.0), 0)
        parts.append(Solid(BOX, turn @ spot + vector(0, 0, wall), half, palette.add(rng), turn))
    return parts


def furnish(rng: Rng, palette: Palette, wall: float, front: float, half_width: float) -> list[Solid]:
    """Things along the far wall, all at least ``front`` metres away."""
    parts: list[Solid] = []
    room, x = wall - front, -half_width * 1.1
    while room > 0.15 and x < half_width and rng.random() < 0.93:
        width = rng.uniform(0.3, 1.4)
        if rng.random() < 0.5:  # the same families as the salient objects
            body = compound(rng, palette)
            low, high = extent(body)
            body = place(body, vector(0, 0, 0), rng.uniform(0, 6.3), width / float((high - low).max()))
            low, high = extent(body)
            if high[2] - low[2] < room:
                parts += place(body, vector(x + width / 2, 0, wall - high[2] - rng.uniform(0, 0.05)))
        else:  # boxes on one another
            y = 0.0
            for _ in range(rng.integers(1, 6)):
                deep = min(room * 0.45, rng.uniform(0.1, 0.4))
                half = vector(width * rng.uniform(0.2, 0.5), rng.uniform(0.05, 0.4), deep)
                spot = vector(x + width / 2, y + half[1], wall - deep - 0.02)
                parts.append(Solid(BOX, spot, half, palette.add(rng)))
                y += 2 * float(half[1])
        x += width + rng.uniform(0, 0.5)
    return parts


def litter(rng: Rng, palette: Palette, near: float, far: float, half_width: float) -> list[Solid]:
    """Flat things on the floor, anywhere: mats, papers, lids. Lower than 2 cm, never salient."""
    parts: list[Solid] = []
    for _ in range(rng.integers(-5, 6)):
        half = vector(rng.uniform(0.03, 0.4), rng.uniform(0.001, 0.008), rng.uniform(0.03, 0.4))
        spot = vector(rng.uniform(-1, 1) * half_width, half[1], rng.uniform(near, far))
        kind = BOX if rng.random() < 0.7 else SPHERE
        parts.append(Solid(kind, spot, half, palette.add(rng), yaw(rng.uniform(0, 3))))
    return parts
