"""One object of a photograph, seen again: turned, tilted, elsewhere, in other light, blurred, partly hidden."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.things.infrared import noisy, reflectance, sense
from mutualformer.export.criteria.crops import largest
from mutualformer.runtime.sources.frame import DataError, Item

Rng = np.random.Generator
LEAST_SIDE = 24  # pixels; a smaller object of a photograph shows too little to recognise it again


class Thing(NamedTuple):
    """``pixels`` uint8 (h, w, 4): colour and near-infrared reflectance; ``alpha`` uint8 (h, w) 0 … 255.

    ``outline``: convex hull (N, 2) float32 in pixels. ``scene``: the whole photograph with its reflectance.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    outline: NDArray[np.float32]
    scene: NDArray[np.uint8]


def thing(item: Item, rng: Rng) -> Thing:
    """The largest object of a photograph; ``rng`` draws its material. Raises DataError where it is too small."""
    assert item.mask is not None
    (left, top, width, height), inside = largest(item.mask)
    if min(width, height) < LEAST_SIDE:
        raise DataError(f"{item.name}: its object is smaller than {LEAST_SIDE} pixels")
    window = slice(max(top - 2, 0), top + height + 2), slice(max(left - 2, 0), left + width + 2)
    scene = np.dstack([item.rgb, reflectance(item.rgb, rng)])
    alpha = np.where(inside[window], 255, 0).astype(np.uint8)
    points = np.concatenate(cv2.findContours(alpha, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0])
    outline = cv2.convexHull(points).reshape(-1, 2).astype(np.float32)
    # A mask drawn by hand is rather a pixel too wide: the old background must not come along.
    soft = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    return Thing(np.ascontiguousarray(scene[window]), soft, outline, scene)


def _placed(outline: NDArray[np.float32], side: int, rng: Rng, share: float = 0.0) -> NDArray[np.float64]:
    """The homography of a thing's pixels into a crop of ``side``² around its turned and tilted box.

    ``share``: side of the thing relative to the crop, anywhere in it; 0 = it fills the crop, as a detector's box.
    """
    x, y, w, h = cv2.boundingRect(outline)
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)
    angle = float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.15 else float(rng.normal(0, 0.3))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, 0.1, 2))
    middle = np.array([x + w / 2, y + h / 2])
    moved = ((corners - middle) * stretch) @ turn.T + rng.uniform(-0.12, 0.12, (4, 2)) * (w, h)
    tilt = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    seen = cv2.perspectiveTransform(outline[None], tilt)[0]
    low, high = seen.min(axis=0), seen.max(axis=0)
    size = high - low
    if rng.random() < 0.5:  # a square around the thing, as those who keep its proportions cut it
        size = np.full(2, size.max())
    if share:
        size, centre = size.max() / share * np.ones(2), (low + high) / 2
        centre = centre + size * rng.uniform(-0.4, 0.4, 2)
    else:
        size = size * (1 + rng.uniform(0.0, 0.3, 2))
        centre = (low + high) / 2 + size * rng.uniform(-0.06, 0.06, 2)
    scale, origin = side / size, centre - size / 2
    to_crop = np.array([[scale[0], 0, -origin[0] * scale[0]], [0, scale[1], -origin[1] * scale[1]], [0, 0, 1]])
    return np.asarray(to_crop @ tilt)


def _warped(one: Thing, matrix: NDArray[np.float64], side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    pixels = cv2.warpPerspective(
        one.pixels, matrix, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpPerspective(one.alpha, matrix, (side, side))
    return np.asarray(pixels, np.uint8), (alpha.astype(np.float32) / 255)[..., None]


def _background(others: list[Thing], side: int, rng: Rng) -> NDArray[np.float32]:
    """(side, side, 4): a part of another photograph, or a plain surface in uneven light."""
    if others and rng.random() < 0.55:
        scene = others[int(rng.integers(len(others)))].scene
        h, w = (max(16, int(n * rng.uniform(0.25, 0.9))) for n in scene.shape[:2])
        y, x = int(rng.integers(scene.shape[0] - h + 1)), int(rng.integers(scene.shape[1] - w + 1))
        return cv2.resize(scene[y : y + h, x : x + w], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    corners = rng.uniform(20, 230) + rng.normal(0, 25, 4) + rng.normal(0, 25, (2, 2, 1))
    grain = rng.normal(0, rng.uniform(0, 12), (side // 4, side // 4, 1))
    surface = cv2.resize(corners, (side, side)) + cv2.resize(grain, (side, side))[..., None]
    return np.asarray(np.clip(surface, 0, 255), np.float32)


def _lit(rgb: NDArray[np.float32], rng: Rng, light: float) -> NDArray[np.uint8]:
    """Colour of a camera: white balance, exposure, gamma, uneven light, and ``light`` of it all, with its noise."""
    side = rgb.shape[0]
    table = (np.arange(256) / 255) ** float(np.exp(rng.normal(0, 0.2)))
    rgb = table.astype(np.float32)[rgb.astype(np.uint8)]
    ramp = cv2.resize(np.exp(rng.normal(0, 0.2, (2, 2))).astype(np.float32), (side, side))
    gain = np.exp(rng.normal(0, 0.08, 3) + rng.uniform(-0.5, 0.4)).astype(np.float32)
    rgb = rgb * ramp[..., None] * gain
    grey = rgb.mean(axis=2, keepdims=True)
    rgb = grey + (rgb - grey) * float(rng.uniform(0.7, 1.2))
    return noisy(np.asarray(255 * light * np.clip(rgb, 0, 1), np.float32), rng)


def _coarse(image: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """As few pixels as a distant thing has, a lens out of focus, and JPEG."""
    side = image.shape[0]
    if rng.random() < 0.6:
        few = int(np.exp(rng.uniform(np.log(20), np.log(128))))
        if few < side:
            small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 2.0)) * side / 128)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED), np.uint8)
    return np.asarray(image, np.uint8)


def view(
    one: Thing, others: list[Thing], side: int, rng: Rng, night: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """``one`` as a camera sees it: colour and near-infrared, (side, side, 3) uint8 each.

    ``others``: what it may stand before or behind. ``night``: share of the light that colour gets; None draws one.
    """
    canvas = _background(others, side, rng)
    pixels, alpha = _warped(one, _placed(one.outline, side, rng), side)
    canvas = canvas + alpha * (pixels - canvas)
    if others and rng.random() < 0.25:
        front = others[int(rng.integers(len(others)))]
        matrix = _placed(front.outline, side, rng, float(rng.uniform(0.2, 0.5)))
        pixels, hides = _warped(front, matrix, side)
        if (alpha * hides).sum() < 0.35 * alpha.sum():
            canvas = canvas + hides * (pixels - canvas)
    if night is None:
        night = float(np.exp(rng.uniform(np.log(0.03), np.log(0.3)))) if rng.random() < 0.45 else 1.0
    colour = _coarse(_lit(canvas[..., :3], rng, night), rng)
    return colour, sense(_coarse(np.clip(canvas[..., 3], 0, 255).astype(np.uint8), rng), rng)
