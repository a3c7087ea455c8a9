"""Paste a cut-out into a frame: colour with a soft edge, depth with relief, who hides whom, holes beside near edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.photographs import Cutout
from lab.photographs.plausible import bulge

Rng = np.random.Generator
Map = NDArray[np.float32]

HALF = 0.5  # of alpha: from here on a pixel is the object's
TRACE = 0.05  # of alpha: from here on the object has a part in a pixel
SHRINK_BELOW = 0.7  # scales at which a picture is averaged before it is warped
LEAST_SIDE, LEAST_SEEN = 3, 0.33  # of a pasted object: pixels of its sides, share that is in front


@dataclass
class Canvas:
    """A frame under construction, all (H, W): ``rgb`` float32 (H, W, 3) in [0, 255]; ``depth`` metres, 0 = hole;
    ``mask`` and ``certain`` uint8 0 or 1: salient; whether the mask is known there."""

    rgb: Map
    depth: Map
    mask: NDArray[np.uint8]
    certain: NDArray[np.uint8]


def turned(cutout: Cutout, side: float, rng: Rng) -> Cutout:
    """The cut-out with its longer side at ``side`` pixels, tilted by up to about 12 degrees."""
    rows, columns = cutout.alpha.shape
    scale = side / max(rows, columns)
    angle = float(rng.normal(0, 6))
    diagonal = int(np.hypot(rows, columns) * scale) + 3
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), angle, scale)
    turn[:, 2] += diagonal / 2 - np.array([columns / 2, rows / 2])
    # Shrinking by warping alone skips pixels: average first.
    rgb = cv2.warpAffine(_shrunk(cutout.rgb, scale), _rescaled(turn, cutout.rgb, scale), (diagonal, diagonal))
    alpha = cv2.warpAffine(_shrunk(cutout.alpha, scale), _rescaled(turn, cutout.alpha, scale), (diagonal, diagonal))
    inside = np.flatnonzero(alpha.max(1) > TRACE), np.flatnonzero(alpha.max(0) > TRACE)
    if not inside[0].size:
        return Cutout(rgb, alpha)
    box = slice(inside[0][0], inside[0][-1] + 1), slice(inside[1][0], inside[1][-1] + 1)
    return Cutout(rgb[box], alpha[box])


def _small(image: NDArray[np.generic], scale: float) -> tuple[int, int]:
    return max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale))


def _shrunk(image: NDArray[np.generic], scale: float) -> NDArray[np.generic]:
    return cv2.resize(image, _small(image, scale), interpolation=cv2.INTER_AREA) if scale < SHRINK_BELOW else image


def _rescaled(turn: NDArray[np.float64], image: NDArray[np.generic], scale: float) -> NDArray[np.float64]:
    """``turn`` for an image that :func:`_shrunk` has made smaller."""
    if scale >= SHRINK_BELOW:
        return turn
    width, height = _small(image, scale)
    back = np.diag([image.shape[1] / width, image.shape[0] / height, 1.0])
    return np.asarray(turn @ back)


def paste(
    canvas: Canvas, cutout: Cutout, foot: tuple[int, int], z: float, rng: Rng, *, salient: bool, hidden: bool = True
) -> bool:
    """Put ``cutout`` with the middle of its lower edge at ``foot`` (row, column), ``z`` metres away.

    ``hidden``: what was measured nearer stays in front of it. Returns False, nothing changed, where less than a
    third of the object would be seen.
    """
    rows, columns = canvas.depth.shape
    h, w = cutout.alpha.shape
    top, left = foot[0] - h, foot[1] - w // 2
    y0, y1, x0, x1 = max(top, 0), min(top + h, rows), max(left, 0), min(left + w, columns)
    if y1 - y0 < LEAST_SIDE or x1 - x0 < LEAST_SIDE:
        return False
    alpha = cutout.alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    colour = cutout.rgb[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    here = slice(y0, y1), slice(x0, x1)
    solid = (cutout.alpha > HALF).astype(np.uint8)
    thickness = float(rng.uniform(0.02, 0.12)) * z
    relief = thickness * bulge(solid)[y0 - top : y1 - top, x0 - left : x1 - left]
    body = np.maximum(z + 0.3 * thickness - relief, 0.15).astype(np.float32)
    behind = canvas.depth[here]
    if hidden:
        alpha = alpha * ~((behind > 0) & (behind < body - 0.06 * z))
    if float((alpha > HALF).sum()) < LEAST_SEEN * float(solid.sum()):
        return False
    colour = _matched(colour, alpha, canvas.rgb[here], rng)
    canvas.rgb[here] += alpha[..., None] * (colour - canvas.rgb[here])
    own = alpha > HALF
    canvas.mask[here] = np.where(own, np.uint8(salient), canvas.mask[here])
    canvas.certain[here] = np.where(alpha > TRACE, np.uint8(1), canvas.certain[here])
    _measured(canvas, here, own, body, rng)
    return True


def _matched(colour: Map, alpha: Map, around: Map, rng: Rng) -> Map:
    """Brightness and contrast part of the way to the frame's: a cut-out with other light would be recognisable."""
    own = colour[alpha > HALF]
    if own.size < 30:
        return colour
    share = float(rng.uniform(0, 0.6))
    shift = share * (float(around.mean()) - float(own.mean()))
    return np.asarray(np.clip(colour + shift, 0, 255), np.float32)


def _measured(canvas: Canvas, here: tuple[slice, slice], own: NDArray[np.bool_], body: Map, rng: Rng) -> None:
    """The object in the depth map, as badly as the sensor sees things."""
    behind = canvas.depth[here]
    if rng.random() < 0.04:  # glass, black rubber: not measured at all, or seen through
        canvas.depth[here] = np.where(own, np.float32(0), behind) if rng.random() < 0.6 else behind
        return
    noise = float(rng.uniform(0, 0.006)) * body**2 * rng.standard_normal(body.shape, dtype=np.float32)
    measured = np.where(own, body + noise, behind)
    if rng.random() < 0.6:  # the strip that the projector lights and the camera cannot see
        shift = int(rng.integers(1, 2 + max(1, own.shape[1] // 16)))
        strip = np.zeros_like(own)
        if rng.random() < 0.5:
            strip[:, :-shift] = own[:, shift:]
        else:
            strip[:, shift:] = own[:, :-shift]
        measured = np.where(strip & ~own, np.float32(0), measured)
    if rng.random() < 0.35:  # ragged holes inside
        rows, columns = own.shape
        patches = cv2.resize(rng.random((rows // 6 + 2, columns // 6 + 2), dtype=np.float32), (columns, rows))
        measured = np.where(own & (patches < rng.uniform(0.05, 0.45)), np.float32(0), measured)
    if rng.random() < 0.4:  # the outline of a depth map is not the picture's
        edge = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8)) - cv2.erode(
            own.astype(np.uint8), np.ones((3, 3), np.uint8)
        )
        ragged = rng.random(own.shape, dtype=np.float32) < 0.5
        measured = np.where((edge > 0) & ragged, np.float32(0) if rng.random() < 0.5 else behind, measured)
    canvas.depth[here] = measured
