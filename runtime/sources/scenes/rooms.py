"""Backgrounds: floor, walls, shelving full of things, furniture along the wall, flat things on the floor.

Everything drawn here has label 0, however bright, near the wall or familiar in shape it is.
"""

from __future__ import annotations

import numpy as np

from mutualformer.runtime.sources.scenes.materials import Palette
from mutualformer.runtime.sources.scenes.objects import EYE, block, compound, extent, place, tube, vector
from mutualformer.runtime.sources.scenes.primitives import BOX, CYLINDER, SPHERE, Array, Solid, yaw

Rng = np.random.Generator


def shell(rng: Rng, palette: Palette, wall: float, half_width: float) -> list[Solid]:
    """Floor at y = 0, the far wall at about z = ``wall`` and, some of the time, side walls and wall panels."""
    floor, back, side = palette.pick(rng, "floor", str(rng.choice(["floor", "pale", "wood", "any"])), "any")
    turn = yaw(float(rng.normal(0, 0.12)))
    parts = [block(BOX, vector(0, -1, 0), vector(200, 1, 200), floor)]
    if rng.random() < 0.92:  # otherwise the floor goes on to the horizon
        parts.append(block(BOX, vector(0, 0, wall + 0.5), vector(100, 30, 0.5), back, turn))
    else:
        parts.append(block(BOX, vector(0, 0, wall + 30), vector(300, 60, 0.5), back))
    for sign in (-1, 1):
        if rng.random() < 0.3:
            offset = half_width * float(rng.uniform(1.0, 1.6))
            parts.append(block(BOX, vector(sign * (offset + 0.5), 0, wall), vector(0.5, 30, 40), side))
    for _ in range(int(rng.integers(0, 5))):  # panels, posters, doors, windows
        half = vector(rng.uniform(0.1, 0.5) * half_width, rng.uniform(0.2, 1.2), rng.uniform(0.005, 0.06))
        x, y = rng.uniform(-1, 1) * half_width, rng.uniform(0.2, 2.0)
        parts.append(block(BOX, turn @ vector(x, y, 0) + vector(0, 0, wall), half, palette.any(rng), turn))
    return parts


def shelf(rng: Rng, palette: Palette, centre: Array, half_width: float) -> list[Solid]:
    """Posts, boards and what stands on them."""
    frame = palette.any(rng)
    depth, top = float(rng.uniform(0.15, 0.3)), float(rng.uniform(0.9, 2.3))
    parts: list[Solid] = []
    for x in (-1.0, 1.0):
        for z in (-1.0, 1.0):
            foot = centre + vector(x * half_width, 0, z * depth)
            parts.append(tube(foot, foot + vector(0, top, 0), 0.02, frame))
    boards = int(rng.integers(2, 5))
    for y in np.linspace(float(rng.uniform(0.1, 0.4)), top, boards):
        parts.append(block(BOX, centre + vector(0, y, 0), vector(half_width, 0.018, depth), frame))
        x = -half_width
        while x < half_width and rng.random() < 0.93:
            half = rng.uniform(0.04, 0.2, 3).astype(np.float32) * vector(1.0, 0.8, 0.8)
            kind = int(rng.choice([BOX, BOX, CYLINDER, SPHERE]))
            spot = centre + vector(x + half[0], y + half[1] + 0.018, rng.uniform(-0.3, 0.3) * depth)
            parts.append(block(kind, spot, half, palette.any(rng), yaw(rng.uniform(-0.3, 0.3)) if kind == BOX else EYE))
            x += 2 * half[0] + float(rng.uniform(0.0, 0.25))
    return parts


def furnish(rng: Rng, palette: Palette, wall: float, front: float, half_width: float) -> list[Solid]:
    """Things along the far wall, none of them nearer than ``front`` (metres)."""
    parts: list[Solid] = []
    room = wall - front
    if room < 0.15:
        return parts
    x = -half_width * 1.1
    while x < half_width and rng.random() < 0.93:
        kind, width = rng.random(), float(rng.uniform(0.3, 1.4))
        if kind < 0.35 and room > 0.4:
            parts += shelf(rng, palette, vector(x + width / 2, 0, wall - 0.32), width / 2)
        elif kind < 0.7:  # the same families as the salient objects
            body = compound(rng, palette)
            low, high = extent(body)
            scale = width / float((high - low).max())
            angle = float(rng.uniform(0, 2 * np.pi))
            moved = place(body, scale, angle, vector(0, 0, 0))
            low, high = extent(moved)
            if high[2] - low[2] < room:
                parts += place(moved, 1.0, 0.0, vector(x + width / 2, 0, wall - high[2] - rng.uniform(0, 0.05)))
        else:  # boxes on and beside one another
            y = 0.0
            for _ in range(int(rng.integers(1, 4))):
                half = vector(
                    width * rng.uniform(0.2, 0.5), rng.uniform(0.08, 0.4), min(room * 0.45, rng.uniform(0.1, 0.4))
                )
                parts.append(
                    block(BOX, vector(x + width / 2, y + half[1], wall - half[2] - 0.02), half, palette.any(rng))
                )
                y += 2 * float(half[1])
        x += width + float(rng.uniform(0, 0.5))
    return parts


def litter(rng: Rng, palette: Palette, near: float, far: float, half_width: float) -> list[Solid]:
    """Flat things on the floor, anywhere: mats, papers, lids, cables. Lower than 2 cm, never salient."""
    parts: list[Solid] = []
    if rng.random() < 0.5:
        return parts
    for _ in range(int(rng.integers(1, 6))):
        spot = vector(rng.uniform(-1, 1) * half_width, 0, rng.uniform(near, far))
        half = vector(rng.uniform(0.03, 0.4), rng.uniform(0.001, 0.008), rng.uniform(0.03, 0.4))
        kind = BOX if rng.random() < 0.7 else SPHERE
        parts.append(block(kind, spot + vector(0, half[1], 0), half, palette.any(rng), yaw(rng.uniform(0, 3))))
    return parts
