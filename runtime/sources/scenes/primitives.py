"""Ray-cast primitives: convex solids and an annulus, drawn into a geometry buffer.

World: x right, y up, z forward, metres; the floor is y = 0. Rays leave the camera with a direction whose component
along the optical axis is 1, so the ray parameter *is* the depth. Every solid is the unit one (sphere of radius 1,
cube and cylinder reaching ±1) scaled by ``half`` and turned by ``rotation``; a cylinder's axis is its local z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SPHERE, BOX, CYLINDER, RING = range(4)
NEAR = 0.05  # metres in front of the camera where drawing starts

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32).T


@dataclass
class Solid:
    """``kind``: SPHERE, BOX, CYLINDER or RING. ``hole``: inner ÷ outer radius of a RING. ``label``: 0 = scenery."""

    kind: int
    centre: Array  # (3,)
    half: Array  # (3,) half extents along the local axes
    rotation: Array  # (3, 3), columns = local axes in the world
    material: int
    label: int = 0
    hole: float = 0.0

    def corners(self) -> Array:
        """(3, 8) world corners of the bounding box."""
        return np.asarray(self.centre[:, None] + self.rotation @ (self.half[:, None] * _CORNERS))


def yaw(angle: float) -> Array:
    """Rotation about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def tilt(angle: float) -> Array:
    """Rotation about x; positive looks down from +z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def along(direction: Array) -> Array:
    """A rotation whose local z is ``direction``."""
    a, b, c = (float(v) for v in direction)  # plain floats: a thousand three-vectors a scene, numpy would dominate
    n = max((a * a + b * b + c * c) ** 0.5, 1e-6)
    a, b, c = a / n, b / n, c / n
    x = (c, 0.0, -a) if abs(b) < 0.9 else (0.0, -c, b)  # y × z, or x × z for an upright direction
    n = (x[0] ** 2 + x[1] ** 2 + x[2] ** 2) ** 0.5
    x = (x[0] / n, x[1] / n, x[2] / n)
    y = (b * x[2] - c * x[1], c * x[0] - a * x[2], a * x[1] - b * x[0])
    return np.array([[x[0], y[0], a], [x[1], y[1], b], [x[2], y[2], c]], np.float32)


class Pinhole:
    """A pinhole at (0, ``height``, 0) looking along +z, pitched down by ``pitch`` radians."""

    def __init__(self, size: tuple[int, int], focal: float, height: float, pitch: float) -> None:
        rows, columns = size
        self.size, self.focal = size, focal
        self.centre = ((columns - 1) / 2, (rows - 1) / 2)
        self.origin = np.array([0, height, 0], np.float32)
        self.rotation = tilt(pitch)  # camera → world
        x = (np.arange(columns, dtype=np.float32) - self.centre[0]) / focal
        y = -(np.arange(rows, dtype=np.float32) - self.centre[1]) / focal
        grid = np.empty((3, rows, columns), np.float32)
        grid[0], grid[1], grid[2] = x[None, :], y[:, None], 1.0
        self.rays = np.einsum("ij,jhw->ihw", self.rotation, grid).astype(np.float32)

    def window(self, solid: Solid) -> tuple[slice, slice] | None:
        """Rows and columns that ``solid`` can cover, None when it is out of sight."""
        corners = self.rotation.T @ (solid.corners() - self.origin[:, None])
        rows, columns = self.size
        if corners[2].max() < NEAR:
            return None
        if corners[2].min() < NEAR:
            return slice(0, rows), slice(0, columns)
        u = self.centre[0] + self.focal * corners[0] / corners[2]
        v = self.centre[1] - self.focal * corners[1] / corners[2]
        left, right = max(int(u.min()), 0), min(int(u.max()) + 2, columns)
        top, bottom = max(int(v.min()), 0), min(int(v.max()) + 2, rows)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def intersect(solid: Solid, origin: Array, rays: Array) -> Array:
    """Ray parameter of the first hit, inf where there is none.

    ``origin`` (3, 1) or (3, n), ``rays`` (3, n) or (3, 1), world coordinates. Solids are intersections of slabs and
    a quadric; a ray that enters a ring's hole hits its inner wall or nothing.
    """
    to_unit = (solid.rotation / solid.half).T
    o = to_unit @ (origin - solid.centre[:, None])
    d = to_unit @ rays
    near, far = np.float32(NEAR), np.float32(np.inf)
    slabs = {SPHERE: (), BOX: (0, 1, 2), CYLINDER: (2,), RING: (2,)}[solid.kind]
    for axis in slabs:
        inverse = 1.0 / d[axis]
        a, b = (-1.0 - o[axis]) * inverse, (1.0 - o[axis]) * inverse
        near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
    if solid.kind != BOX:
        n = 3 if solid.kind == SPHERE else 2
        a = (d[:n] * d[:n]).sum(0)
        b = (o[:n] * d[:n]).sum(0)
        c = (o[:n] * o[:n]).sum(0) - 1.0
        root = np.sqrt(b * b - a * c)  # NaN where the ray misses: comparisons below are then false
        near, far = np.maximum(near, (-b - root) / a), np.minimum(far, (-b + root) / a)
    t = np.where((near < far) & (near > NEAR), near, np.float32(np.inf))
    if solid.kind == RING:
        x, y = o[0] + t * d[0], o[1] + t * d[1]
        in_hole = x * x + y * y < solid.hole**2
        wall = (-b + np.sqrt(b * b - a * (c + 1.0 - solid.hole**2))) / a
        t = np.where(in_hole, np.where(wall < far, wall, np.float32(np.inf)), t)
    return t


class GeometryBuffer:
    """Per pixel: depth (m), material, label, normal (3, …) and surface coordinates (2, …) in metres."""

    def __init__(self, camera: Pinhole) -> None:
        self.camera = camera
        size = camera.size
        self.depth = np.full(size, np.inf, np.float32)
        self.material = np.zeros(size, np.int32)
        self.label = np.zeros(size, np.uint8)
        self.normal = np.zeros((3, *size), np.float32)
        self.surface = np.zeros((2, *size), np.float32)

    def draw(self, solid: Solid) -> None:
        """Draw ``solid`` where it is nearer than what is there."""
        window = self.camera.window(solid)
        if window is None:
            return
        rays = self.camera.rays[:, window[0], window[1]]
        flat = np.ascontiguousarray(rays).reshape(3, -1)
        t = intersect(solid, self.camera.origin[:, None], flat).reshape(rays.shape[1:])
        rows, columns = np.nonzero(t < self.depth[window])
        if not rows.size:
            return
        t = t[rows, columns]
        rays = rays[:, rows, columns]
        rows, columns = rows + window[0].start, columns + window[1].start
        self.depth[rows, columns] = t
        self.material[rows, columns] = solid.material
        self.label[rows, columns] = solid.label
        point = solid.rotation.T @ (self.camera.origin[:, None] + t * rays - solid.centre[:, None])
        unit = point / solid.half[:, None]
        if solid.kind == SPHERE:
            local = unit / solid.half[:, None]
        else:
            reach = np.abs(unit)
            if solid.kind == BOX:
                face = reach.argmax(0)
                local = np.sign(unit) * (np.arange(3)[:, None] == face)
            else:
                local = np.where(reach[2] > 0.999, [[0], [0], [1]] * np.sign(unit[2]), unit / solid.half[:, None])
                local[2] *= reach[2] > 0.999
                if solid.kind == RING:  # a tyre is round: bend the cap's normal outwards near the rim
                    local += 0.7 * unit * [[1], [1], [0]] / solid.half[:, None] * solid.half[2]
        normal = solid.rotation @ (local / np.maximum(np.linalg.norm(local, axis=0), 1e-6)).astype(np.float32)
        self.normal[:, rows, columns] = normal
        self.surface[0, rows, columns] = point[0] + 0.7 * point[2]
        self.surface[1, rows, columns] = point[1] + 0.7 * point[2]
