"""Find the objects in a saliency map: where each is, and how far away.

An object is a connected salient region. A region is split where the depth jumps, since its parts touch in the picture
but not in space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
GRID = 640  # longest side in pixels at which regions are found
SPECK = 0.02  # regions smaller than this share of the largest one are no objects
PART = 0.05  # a part beyond a jump of depth is an object if it has at least this share of its region
JUMP = 0.03, 0.02  # a depth step between neighbouring pixels is a jump above 3 % of the distance plus 2 cm
NEAR = 5  # percentile of the depth inside that counts as the nearest point: lower ones are noise
MOST = 200  # objects; labels are 8-bit


@dataclass(frozen=True)
class SalientObject:
    """One object. ``box``: (left, top, right, bottom) as fractions of the picture. ``area``: share of the picture.

    ``score``: mean saliency inside. ``distance_m``: median of the measured depth inside, ``nearest_m``: its nearest
    point (:data:`NEAR` percent lie before it), metres; None without a measurement there. ``identity``: the same number
    for the same object from frame to frame of a stream; None where nothing is tracked. ``name``, ``similarity``: of the
    nearest thing in a gallery, None without one.
    """

    box: tuple[float, float, float, float]
    area: float
    score: float
    distance_m: float | None
    nearest_m: float | None
    identity: int | None = None
    name: str | None = None
    similarity: float | None = None

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The box in a picture of that size: (left, top, right, bottom), right and bottom exclusive."""
        left, top, right, bottom = self.box
        return round(left * width), round(top * height), round(right * width), round(bottom * height)

    def numbers(self) -> dict[str, float | None]:
        """Area, score and distances, rounded to their precision."""
        return {
            "area": round(self.area, 5),
            "score": round(self.score, 4),
            "distance_m": rounded(self.distance_m),
            "nearest_m": rounded(self.nearest_m),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``id`` only where objects are tracked."""
        tracked = {} if self.identity is None else {"id": self.identity}
        named = {} if self.similarity is None else {"name": self.name, "similarity": round(self.similarity, 4)}
        return {**tracked, **named, "box": [round(edge, 4) for edge in self.box], **self.numbers()}


def rounded(metres: float | None) -> float | None:
    """Whole millimetres; None stays None."""
    return None if metres is None else round(metres, 3)


def nearest_object_m(objects: tuple[SalientObject, ...]) -> float | None:
    """Distance of the nearest of ``objects`` in metres; None where none has a measured distance."""
    return min((one.distance_m for one in objects if one.distance_m is not None), default=None)


def find_objects(
    saliency: NDArray[np.float32],
    depth: NDArray[np.float32] | None,
    salient: NDArray[np.bool_] | None = None,
) -> tuple[tuple[SalientObject, ...], NDArray[np.uint8]]:
    """The objects of a map (h, w) in [0, 1], the nearest first and then the largest, and a label map.

    ``depth``: metres of the same view at any size, 0 = no measurement; None where there is none. ``salient`` (H, W):
    the salient pixels at any size, instead of those above :data:`THRESHOLD`. The label map has the shape of
    ``salient``, else of the map: 0 where there is no object, k where the k-th object is, from 1.
    """
    labels = label(saliency > THRESHOLD if salient is None else salient, depth)
    grid = grid_of(labels.shape)
    small, saliency = sampled(labels, grid), sampled(saliency, grid)
    depth = None if depth is None else sampled(depth, grid)
    numbers = range(1, int(small.max(initial=0)) + 1)
    found = [(measured(labels == number, small == number, saliency, depth), number) for number in numbers]
    far = float("inf")
    found.sort(key=lambda pair: (far if pair[0].distance_m is None else pair[0].distance_m, -pair[0].area))
    places = np.zeros(256, np.uint8)
    places[[number for _, number in found]] = np.arange(1, len(found) + 1)
    return tuple(one for one, _ in found), np.asarray(cv2.LUT(labels, places), np.uint8)


def measured(
    inside: NDArray[np.bool_],
    core: NDArray[np.bool_],
    saliency: NDArray[np.float32],
    depth: NDArray[np.float32] | None,
) -> SalientObject:
    """One object: box and area from its mask ``inside`` (H, W), the rest from its mask ``core`` (h, w) on the grid."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    height, width = inside.shape
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    distance = near = None
    if depth is not None and len(metres := depth[core & (depth > 0)]):
        distance, near = (float(value) for value in np.percentile(metres, (50, NEAR)))
    edges = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return SalientObject(edges, np.count_nonzero(inside) / inside.size, float(saliency[core].mean()), distance, near)


def label(salient: NDArray[np.bool_], depth: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """(H, W): 0 where nothing is salient, else the object's number from 1. ``depth`` as in :func:`find_objects`."""
    shape = (salient.shape[0], salient.shape[1])
    grid = grid_of(shape)
    small = sampled(salient, grid).astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(small, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    order = [int(k) for k in np.argsort(-areas, kind="stable") if areas[k] and areas[k] >= SPECK * areas.max()]
    depth = None if depth is None else sampled(depth, grid)
    labels = np.zeros(grid, np.uint8)
    for region in order:
        left, top, width, height, _ = stats[region]
        window = slice(top, top + height), slice(left, left + width)
        inside = regions[window] == region
        parts = inside.astype(np.uint8) if depth is None else split(inside, depth[window])
        most = int(labels.max())
        if most + int(parts.max()) > MOST:
            break
        labels[window][inside] = parts[inside] + most
    if grid == shape:
        return labels
    # Dilate before enlarging, so that every salient pixel at an edge gets a label.
    wide = np.where(labels > 0, labels, cv2.dilate(labels, np.ones((3, 3), np.uint8)))
    enlarged = cv2.resize(wide, shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged * salient, np.uint8)


def grid_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """The size at which objects of a picture (H, W) are found: its own, scaled down to at most :data:`GRID`."""
    scale = min(1.0, GRID / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def sampled(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """``image`` (H, W) at another size by nearest neighbour: depth must not be averaged across an edge."""
    if image.shape == shape:
        return image
    rows = (np.arange(shape[0]) * 2 + 1) * image.shape[0] // (2 * shape[0])
    columns = (np.arange(shape[1]) * 2 + 1) * image.shape[1] // (2 * shape[1])
    return image[np.ix_(rows, columns)]


def split(inside: NDArray[np.bool_], depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Split a region at jumps of its depth, both (h, w): its parts numbered from 1, 0 outside."""
    whole = inside.astype(np.uint8)
    measured = depth[inside & (depth > 0)]
    # A part of at least PART beyond a jump would move one of these percentiles by the jump, so most regions end here.
    share = 100 * PART / 2
    near, far = np.percentile(measured, (share, 100 - share)) if len(measured) else (0.0, 0.0)
    if far - near <= JUMP[0] * near + JUMP[1]:
        return whole
    depth = filled(depth)
    step = np.zeros(depth.shape, np.float32)
    across, down = np.abs(np.diff(depth, axis=1)), np.abs(np.diff(depth, axis=0))
    np.maximum(step[:, 1:], across, out=step[:, 1:])
    np.maximum(step[1:], down, out=step[1:])
    smooth = inside & (step <= JUMP[0] * depth + JUMP[1])
    count, parts, stats, _ = cv2.connectedComponentsWithStats(smooth.astype(np.uint8), connectivity=4)
    least = max(PART * len(measured), 4)
    large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= least]
    if len(large) < 2:
        return whole
    numbers = np.zeros(count, np.uint8)
    numbers[large] = np.arange(1, len(large) + 1)
    # The jumps themselves and small fragments join the nearest part.
    seeds = np.take(numbers, parts)
    return np.asarray(spread(seeds, seeds > 0) * whole, np.uint8)


def filled(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill holes with the nearest measurement, and single outliers with the median around them."""
    whole = np.ascontiguousarray(spread(depth, depth > 0), np.float32)
    return np.asarray(cv2.medianBlur(whole, 5), np.float32)


def spread(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """``values`` (h, w) where each pixel that is not ``known`` has the nearest known one's; at least one must be."""
    if known.all():
        return values
    unknown = np.asarray(~known, np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(int(nearest.max()) + 1, values.dtype)
    table[nearest[known]] = values[known]
    return np.asarray(np.take(table, nearest))
