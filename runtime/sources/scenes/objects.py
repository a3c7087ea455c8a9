"""Compound objects built of primitives: furniture, creatures, plants, vessels, free assemblies.

Each builder returns parts in the object's own frame: standing on y = 0, about a metre in size, x its long side.
The same builders furnish the background, so that what an object *is* never says whether it is salient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from mutualformer.runtime.sources.scenes.materials import Palette
from mutualformer.runtime.sources.scenes.primitives import BOX, CYLINDER, RING, SPHERE, Array, Solid, along, tilt, yaw

Rng = np.random.Generator
EYE = np.eye(3, dtype=np.float32)


def vector(*values: float) -> Array:
    """float32 array of the values."""
    return np.array(values, np.float32)


def tube(start: Array, end: Array, radius: float, material: int) -> Solid:
    """A round bar between two points."""
    span = end - start
    length = max(float(np.linalg.norm(span)), 1e-3)
    return Solid(
        CYLINDER, np.asarray((start + end) / 2, np.float32), vector(radius, radius, length / 2), along(span), material
    )


def polyline(points: Sequence[Array], radius: float, material: int) -> list[Solid]:
    """A bent tube."""
    return [tube(a, b, radius, material) for a, b in pairwise(points)]


def block(kind: int, centre: Array, half: Array, material: int, rotation: Array = EYE) -> Solid:
    """A solid of ``kind`` with half sizes in metres, turned by ``rotation`` (3, 3)."""
    return Solid(kind, centre, half, rotation, material)


def furniture(rng: Rng, palette: Palette) -> list[Solid]:
    """Legs, a plate, perhaps a back of slats, drawers or arms: chairs, benches, stools, tables, lamps on a foot."""
    wood, other = palette.pick(rng, "any", "any")
    long, deep = float(rng.uniform(0.35, 1.3)), float(rng.uniform(0.3, 0.6))
    height = float(rng.uniform(0.35, 0.9))
    thick = float(rng.uniform(0.015, 0.04))
    parts = [block(BOX, vector(0, height, 0), vector(long / 2, thick, deep / 2), wood)]
    spread = float(rng.uniform(0.75, 1.0))
    for x in (-1.0, 1.0):
        for z in (-1.0, 1.0):
            foot = vector(x * long / 2 * 0.95, 0, z * deep / 2 * 0.95)
            knee = vector(x * long / 2 * 0.95 * spread, height, z * deep / 2 * 0.95 * spread)
            parts.append(tube(foot, knee, thick * float(rng.uniform(0.7, 1.2)), wood))
    if rng.random() < 0.6:
        back = height + float(rng.uniform(0.3, 0.6))
        count = int(rng.integers(1, 7))
        for x in np.linspace(-long / 2 + thick, long / 2 - thick, count + 1):
            parts.append(tube(vector(x, height, deep / 2), vector(x, back, deep / 2), thick * 0.8, wood))
        for y in (back, (height + back) / 2):
            parts.append(block(BOX, vector(0, y, deep / 2), vector(long / 2, 0.04, thick), wood))
    if rng.random() < 0.3:
        parts.append(block(BOX, vector(0, height / 2, 0), vector(long * 0.4, height * 0.3, deep * 0.4), other))
    for _ in range(int(rng.integers(0, 3))):
        half = rng.uniform(0.04, 0.16, 3).astype(np.float32)
        centre = vector(rng.uniform(-0.4, 0.4) * long, height + thick + half[1], rng.uniform(-0.3, 0.3) * deep)
        parts.append(block(int(rng.choice([BOX, SPHERE])), centre, half, palette.any(rng)))
    return parts


def creature(rng: Rng, palette: Palette) -> list[Solid]:
    """A trunk with two or four limbs below, a head, arms, a tail: people, animals, mannequins."""
    cloth, cloth2, skin = palette.pick(rng, "any", "any", "any")
    upright = rng.random() < 0.5
    leg = float(rng.uniform(0.25, 0.85))
    girth = float(rng.uniform(0.1, 0.22))
    parts: list[Solid] = []
    if upright:
        trunk = float(rng.uniform(0.2, 0.4))
        middle = vector(0, leg + trunk, 0)
        parts.append(block(SPHERE, middle, vector(girth * 1.3, trunk * 1.1, girth), cloth))
        for x in (-1.0, 1.0):
            hip = vector(x * girth * 0.6, leg, 0)
            parts.append(
                tube(vector(x * girth * rng.uniform(0.5, 1.4), 0, rng.uniform(-0.15, 0.15)), hip, girth * 0.45, cloth2)
            )
            shoulder = middle + vector(x * girth * 1.1, trunk * 0.7, 0)
            elbow = shoulder + vector(x * rng.uniform(0.02, 0.3), rng.uniform(-0.3, 0.1), rng.uniform(-0.2, 0.1))
            hand = elbow + vector(x * rng.uniform(-0.1, 0.2), rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0))
            parts += polyline([shoulder, elbow, hand], girth * 0.3, cloth)
            parts.append(block(SPHERE, hand, vector(1, 1, 1) * girth * 0.35, skin))
        head = middle + vector(0, trunk * 1.1 + girth * 1.1, 0)
        parts.append(block(SPHERE, head, vector(0.7, 0.95, 0.8) * girth, skin))
    else:
        long = float(rng.uniform(0.3, 0.6))
        middle = vector(0, leg + girth * 0.6, 0)
        parts.append(block(SPHERE, middle, vector(long, girth, girth), cloth))
        for x in (-0.7, 0.7):
            for z in (-0.6, 0.6):
                parts.append(
                    tube(
                        vector(x * long + rng.uniform(-0.1, 0.1), 0, z * girth),
                        middle + vector(x * long, 0, z * girth),
                        girth * 0.28,
                        cloth,
                    )
                )
        neck = middle + vector(long * 1.1, rng.uniform(0, 0.35), 0)
        parts.append(tube(middle + vector(long * 0.8, 0, 0), neck, girth * 0.5, cloth))
        parts.append(block(SPHERE, neck + vector(0.06, 0.03, 0), vector(1.1, 0.7, 0.7) * girth, skin))
        tail = middle - vector(long * 1.4, -rng.uniform(-0.2, 0.3), 0)
        parts.append(tube(middle - vector(long * 0.9, 0, 0), tail, girth * 0.15, cloth))
    return parts


def plant(rng: Rng, palette: Palette) -> list[Solid]:
    """A pot, stems and leaves."""
    pot, leaf, leaf2 = palette.pick(rng, "any", "leaf", "leaf")
    radius, height = float(rng.uniform(0.1, 0.22)), float(rng.uniform(0.1, 0.22))
    parts = [block(CYLINDER, vector(0, height, 0), vector(radius, radius, height), pot, tilt(np.pi / 2))]
    for _ in range(int(rng.integers(6, 18))):
        angle, lean, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 1.0), rng.uniform(0.25, 0.8)
        direction = vector(np.cos(angle) * np.sin(lean), np.cos(lean), np.sin(angle) * np.sin(lean))
        base = vector(0, 2 * height, 0)
        tip = base + direction * float(length)
        parts.append(tube(base, tip, 0.008, leaf2))
        half = vector(rng.uniform(0.02, 0.09), rng.uniform(0.008, 0.02), rng.uniform(0.08, 0.2))
        parts.append(
            block(SPHERE, tip, half, leaf if rng.random() < 0.7 else leaf2, along(direction + vector(0.3, -0.3, 0.2)))
        )
    return parts


def vessel(rng: Rng, palette: Palette) -> list[Solid]:
    """A stack of round bodies, perhaps with a handle: bottles, vases, lamps, bins, fire extinguishers."""
    parts: list[Solid] = []
    y = 0.0
    radius = float(rng.uniform(0.1, 0.25))
    for _ in range(int(rng.integers(2, 6))):
        height = float(rng.uniform(0.04, 0.25))
        material = palette.any(rng)
        if rng.random() < 0.5:
            parts.append(
                block(CYLINDER, vector(0, y + height, 0), vector(radius, radius, height), material, tilt(np.pi / 2))
            )
            y += 2 * height
        else:
            parts.append(block(SPHERE, vector(0, y + height, 0), vector(radius, height, radius), material))
            y += 1.7 * height
        radius *= float(rng.uniform(0.5, 1.25))
    if rng.random() < 0.5:
        ring = float(rng.uniform(0.06, 0.14))
        centre = vector(radius + 0.1, y * 0.5, 0)
        parts.append(Solid(RING, centre, vector(ring, ring * 1.4, 0.02), EYE, palette.any(rng), hole=0.75))
    return parts


def assembly(rng: Rng, palette: Palette) -> list[Solid]:
    """Primitives grown onto one another: no name, but one thing."""
    materials = [palette.any(rng) for _ in range(3)]
    half = rng.uniform(0.1, 0.3, 3).astype(np.float32)
    parts = [
        block(int(rng.choice([SPHERE, BOX, CYLINDER])), vector(0, 0.4, 0), half, materials[0], yaw(rng.uniform(0, 3)))
    ]
    for _ in range(int(rng.integers(3, 14))):
        parent = parts[int(rng.integers(len(parts)))]
        direction = rng.normal(size=3).astype(np.float32)
        direction /= np.linalg.norm(direction)
        joint = parent.centre + direction * parent.half.min() * 0.9
        material = int(rng.choice(materials))
        if rng.random() < 0.45:
            end = joint + direction * float(rng.uniform(0.1, 0.5))
            parts.append(tube(joint, end, float(rng.uniform(0.01, 0.05)), material))
        else:
            half = rng.uniform(0.04, 0.22, 3).astype(np.float32)
            kind = int(rng.choice([SPHERE, BOX, CYLINDER, RING]))
            solid = block(
                kind, joint + direction * half.min(), half, material, yaw(rng.uniform(0, 3)) @ tilt(rng.uniform(0, 3))
            )
            solid.hole = 0.7
            parts.append(solid)
    return parts


BUILDERS: tuple[tuple[Callable[[Rng, Palette], list[Solid]], float], ...] = (
    (furniture, 0.18),
    (creature, 0.27),
    (plant, 0.12),
    (vessel, 0.15),
    (assembly, 0.28),
)


def extent(parts: Sequence[Solid]) -> tuple[Array, Array]:
    """Lowest and highest world coordinates, (3,) each."""
    corners = np.concatenate([part.corners() for part in parts], axis=1)
    return corners.min(axis=1), corners.max(axis=1)


def compound(rng: Rng, palette: Palette) -> list[Solid]:
    """One object of a random family, its base at y = 0, centred in x and z, 0.3 to 2 m on its longest side."""
    builders, weights = zip(*BUILDERS, strict=True)
    parts = builders[int(rng.choice(len(builders), p=np.array(weights) / sum(weights)))](rng, palette)
    low, high = extent(parts)
    return place(parts, 1.0, 0.0, -vector((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2))


def place(parts: Sequence[Solid], scale: float, angle: float, position: Array, label: int = 0) -> list[Solid]:
    """Scale, turn about the vertical, then move."""
    turn = yaw(angle)
    return [
        replace(
            part,
            centre=turn @ (part.centre * np.float32(scale)) + position,
            half=part.half * np.float32(scale),
            rotation=turn @ part.rotation,
            label=label,
        )
        for part in parts
    ]
