"""Ray-cast primitives: spheres, boxes and cylinders, drawn into a geometry buffer.

World: x right, y up, z forward, metres; the floor is y = 0. Rays leave the camera with a direction whose component
along the optical axis is 1, so the ray parameter *is* the depth. Every solid is the unit one (sphere of radius 1,
cube and cylinder reaching ±1) scaled by ``half`` and turned by ``rotation``; a cylinder's axis is its local z.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SPHERE, BOX, CYLINDER = range(3)
NEAR = 0.05  # metres in front of the camera where drawing starts
CAP = 0.999  # of a cylinder's half length: a hit beyond this lies on its flat end

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32).T


@dataclass
class Solid:
    """``kind``: SPHERE, BOX or CYLINDER. ``material``: its number in the palette. ``label``: 0 = scenery."""

    kind: int
    centre: Array  # (3,)
    half: Array  # (3,) half extents along the local axes
    material: int
    rotation: Array = field(default_factory=lambda: np.eye(3, dtype=np.float32))  # (3, 3), columns = local axes
    label: int = 0

    def corners(self) -> Array:
        """(3, 8) world corners of the bounding box."""
        return np.asarray(self.centre[:, None] + self.rotation @ (self.half[:, None] * _CORNERS))


def yaw(angle: float) -> Array:
    """Rotation about the vertical."""
    return np.asarray(cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0], np.float32)


def tilt(angle: float) -> Array:
    """Rotation about x; positive looks down from +z."""
    return np.asarray(cv2.Rodrigues(np.array([angle, 0.0, 0.0]))[0], np.float32)


def along(direction: Array) -> Array:
    """A rotation whose local z is ``direction``."""
    z = direction / max(float(np.linalg.norm(direction)), 1e-6)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1).astype(np.float32)


class Pinhole:
    """A pinhole at (0, ``height``, 0) looking along +z, pitched down by ``pitch`` radians."""

    def __init__(self, size: tuple[int, int], focal: float, height: float, pitch: float) -> None:
        rows, columns = size
        self.size, self.focal, self.pitch = size, focal, pitch
        self.centre = ((columns - 1) / 2, (rows - 1) / 2)
        self.origin = np.array([0, height, 0], np.float32)
        self.rotation = tilt(pitch)  # camera → world
        y, x = np.indices(size, np.float32)
        grid = np.stack([(x - self.centre[0]) / focal, (self.centre[1] - y) / focal, np.ones_like(x)])
        self.rays = np.einsum("ij,jhw->ihw", self.rotation, grid).astype(np.float32)

    def window(self, solid: Solid) -> tuple[slice, slice] | None:
        """Rows and columns that ``solid`` can cover, None when it is out of sight."""
        corners = self.rotation.T @ (solid.corners() - self.origin[:, None])
        rows, columns = self.size
        if corners[2].max() < NEAR:
            return None
        if corners[2].min() < NEAR:  # it reaches behind the near plane, where projected corners bound nothing
            return slice(0, rows), slice(0, columns)
        u = self.centre[0] + self.focal * corners[0] / corners[2]
        v = self.centre[1] - self.focal * corners[1] / corners[2]
        left, right = max(int(u.min()), 0), min(int(u.max()) + 2, columns)
        top, bottom = max(int(v.min()), 0), min(int(v.max()) + 2, rows)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def intersect(solid: Solid, origin: Array, rays: Array) -> Array:
    """Ray parameter of the first hit, inf where there is none.

    ``origin`` (3, 1) or (3, n), ``rays`` (3, n) or (3, 1), world coordinates. A solid is the intersection of slabs
    and a quadric.
    """
    to_unit = (solid.rotation / solid.half).T
    o = to_unit @ (origin - solid.centre[:, None])
    d = to_unit @ rays
    near: Any = NEAR
    far: Any = np.inf
    for axis in {SPHERE: (), BOX: (0, 1, 2), CYLINDER: (2,)}[solid.kind]:
        a, b = (-1.0 - o[axis]) / d[axis], (1.0 - o[axis]) / d[axis]
        near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
    if solid.kind != BOX:
        n = 3 if solid.kind == SPHERE else 2
        a = (d[:n] * d[:n]).sum(0)
        b = (o[:n] * d[:n]).sum(0)
        root = np.sqrt(b * b - a * ((o[:n] * o[:n]).sum(0) - 1.0))  # NaN where the ray misses: no comparison holds
        near, far = np.maximum(near, (-b - root) / a), np.minimum(far, (-b + root) / a)
    return np.where((near < far) & (near > NEAR), near, np.inf)


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
        """Draw ``solid`` where it is nearer than what was drawn before."""
        window = self.camera.window(solid)
        if window is None:
            return
        rays = self.camera.rays[:, window[0], window[1]]
        t = intersect(solid, self.camera.origin[:, None], rays.reshape(3, -1)).reshape(rays.shape[1:])
        nearer = t < self.depth[window]
        rows, columns = np.nonzero(nearer)
        rows, columns = rows + window[0].start, columns + window[1].start
        self.depth[rows, columns] = t = t[nearer]
        self.material[rows, columns] = solid.material
        self.label[rows, columns] = solid.label
        point = solid.rotation.T @ (self.camera.origin[:, None] + t * rays[:, nearer] - solid.centre[:, None])
        unit = point / solid.half[:, None]  # the point on the unit solid
        reach = np.abs(unit)
        # Normals: a box has that of the face hit; the others the gradient of their quadric, but for a cylinder's ends.
        if solid.kind == BOX:
            local = np.sign(unit) * (reach == reach.max(0))
        else:
            local = unit / solid.half[:, None]
            if solid.kind == CYLINDER:
                local = np.where(reach[2] > CAP, [[0], [0], [1]] * unit, local * [[1], [1], [0]])
        local /= np.maximum(np.linalg.norm(local, axis=0), 1e-6)
        self.normal[:, rows, columns] = solid.rotation @ local.astype(np.float32)
        # An oblique projection, so that textures vary along every face.
        self.surface[:, rows, columns] = point[:2] + 0.7 * point[2]
