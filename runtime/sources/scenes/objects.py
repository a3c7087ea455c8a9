"""Compound objects built of primitives: furniture, vessels, free assemblies.

Each builder returns parts in the object's own frame: standing on y = 0, about a metre in size, x its long side.
The same builders furnish the background, so that the kind of an object never shows whether it is salient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mutualformer.runtime.sources.scenes.materials import Palette
from mutualformer.runtime.sources.scenes.primitives import BOX, CYLINDER, SPHERE, Array, Solid, along, tilt, yaw

Rng = np.random.Generator
UPRIGHT = tilt(np.pi / 2)  # of a cylinder


def vector(*values: float) -> Array:
    """float32 array of the values."""
    return np.array(values, np.float32)


def tube(start: Array, end: Array, radius: float, material: int) -> Solid:
    """A round bar between two points."""
    span = end - start
    half = vector(radius, radius, max(float(np.linalg.norm(span)), 1e-3) / 2)
    return Solid(CYLINDER, np.asarray((start + end) / 2, np.float32), half, material, along(span))


def furniture(rng: Rng, palette: Palette) -> list[Solid]:
    """Legs, a plate, perhaps a back of slats, drawers and things on top: chairs, benches, stools, tables."""
    wood = palette.add(rng)
    long, deep, height = (rng.uniform(*sides) for sides in ((0.35, 1.3), (0.3, 0.6), (0.35, 0.9)))
    thick = rng.uniform(0.015, 0.04)
    parts = [Solid(BOX, vector(0, height, 0), vector(long / 2, thick, deep / 2), wood)]
    spread = rng.uniform(0.75, 1.0)
    for x in (-0.475 * long, 0.475 * long):
        for z in (-0.475 * deep, 0.475 * deep):
            knee = vector(x * spread, height, z * spread)
            parts.append(tube(vector(x, 0, z), knee, thick * rng.uniform(0.7, 1.2), wood))
    if rng.random() < 0.6:
        back = height + rng.uniform(0.3, 0.6)
        for x in np.linspace(-long / 2 + thick, long / 2 - thick, rng.integers(2, 8)):
            parts.append(tube(vector(x, height, deep / 2), vector(x, back, deep / 2), thick * 0.8, wood))
        for y in (back, (height + back) / 2):
            parts.append(Solid(BOX, vector(0, y, deep / 2), vector(long / 2, 0.04, thick), wood))
    if rng.random() < 0.3:
        half = vector(long * 0.4, height * 0.3, deep * 0.4)
        parts.append(Solid(BOX, vector(0, height / 2, 0), half, palette.add(rng)))
    for _ in range(rng.integers(0, 3)):
        half = rng.uniform(0.04, 0.16, 3).astype(np.float32)
        centre = vector(rng.uniform(-0.4, 0.4) * long, height + thick + half[1], rng.uniform(-0.3, 0.3) * deep)
        parts.append(Solid(int(rng.choice([BOX, SPHERE])), centre, half, palette.add(rng)))
    return parts


def vessel(rng: Rng, palette: Palette) -> list[Solid]:
    """A stack of round bodies: bottles, vases, lamps, bins, fire extinguishers."""
    parts: list[Solid] = []
    y, radius = 0.0, rng.uniform(0.1, 0.25)
    for _ in range(rng.integers(2, 6)):
        height, material = rng.uniform(0.04, 0.25), palette.add(rng)
        centre = vector(0, y + height, 0)
        if rng.random() < 0.5:
            parts.append(Solid(CYLINDER, centre, vector(radius, radius, height), material, UPRIGHT))
            y += 2 * height
        else:
            parts.append(Solid(SPHERE, centre, vector(radius, height, radius), material))
            y += 1.7 * height
        radius *= rng.uniform(0.5, 1.25)
    return parts


def assembly(rng: Rng, palette: Palette) -> list[Solid]:
    """Primitives grown onto one another: no name, but one thing."""
    materials = [palette.add(rng) for _ in range(3)]
    parts: list[Solid] = []
    for number in range(rng.integers(4, 15)):
        kind, material = int(rng.choice([SPHERE, BOX, CYLINDER])), int(rng.choice(materials))
        turn = yaw(rng.uniform(0, 3)) @ tilt(rng.uniform(0, 3))
        if not number:
            parts.append(Solid(kind, vector(0, 0.4, 0), rng.uniform(0.1, 0.3, 3).astype(np.float32), material, turn))
            continue
        parent = parts[rng.integers(number)]
        direction = rng.normal(size=3).astype(np.float32)
        direction /= np.linalg.norm(direction)
        joint = parent.centre + direction * parent.half.min() * 0.9
        if rng.random() < 0.45:
            end = joint + direction * rng.uniform(0.1, 0.5)
            parts.append(tube(joint, end, rng.uniform(0.01, 0.05), material))
        else:
            half = rng.uniform(0.04, 0.22, 3).astype(np.float32)
            parts.append(Solid(kind, joint + direction * half.min(), half, material, turn))
    return parts


BUILDERS = (furniture, vessel, assembly, assembly)  # an assembly comes as often as the other two together


def extent(parts: Sequence[Solid]) -> tuple[Array, Array]:
    """Lowest and highest world coordinates, (3,) each."""
    corners = np.concatenate([part.corners() for part in parts], axis=1)
    return corners.min(axis=1), corners.max(axis=1)


def compound(rng: Rng, palette: Palette) -> list[Solid]:
    """One object of a random family, its base at y = 0, centred in x and z, 0.3 to 2 m on its longest side."""
    parts = BUILDERS[rng.integers(len(BUILDERS))](rng, palette)
    low, high = extent(parts)
    return place(parts, -vector((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2))


def place(
    parts: Sequence[Solid], position: Array, angle: float = 0.0, scale: float = 1.0, label: int = 0
) -> list[Solid]:
    """Scale, turn about the vertical by ``angle`` radians, then move by ``position`` metres."""
    turn = yaw(angle)
    return [
        replace(
            part,
            centre=turn @ (part.centre * scale) + position,
            half=part.half * scale,
            rotation=turn @ part.rotation,
            label=label,
        )
        for part in parts
    ]
