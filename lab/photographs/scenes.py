"""Whole composites: objects of photographs in frames of a real sensor, or many on a table."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.paste import Canvas, paste, turned
from lab.photographs.photographs import Cutout, Photographs
from lab.photographs.sensor import SensorFrames
from mutualformer.runtime.sources.scenes.sensor import measure

Rng = np.random.Generator
Map = NDArray[np.float32]

DOUBT = 38  # of 255: a teacher's map from here on makes a pixel's truth unknown


class Composite(NamedTuple):
    """``rgb`` uint8 (H, W, 3), ``depth`` float32 metres (H, W), ``mask`` uint8 0 … 255 and ``certain`` uint8 0 or 1."""

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.uint8]
    certain: NDArray[np.uint8]


def _finished(canvas: Canvas, rng: Rng) -> Composite:
    """One camera for all parts: common blur and noise."""
    rgb = canvas.rgb
    if rng.random() < 0.5:
        rgb = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.5:
        rgb = rgb + float(rng.uniform(1, 6)) * rng.standard_normal(rgb.shape, dtype=np.float32)
    colour = np.clip(rgb, 0, 255).astype(np.uint8)
    return Composite(colour, canvas.depth.astype(np.float32), canvas.mask * np.uint8(255), canvas.certain)


def _foot(canvas: Canvas, low: float, rng: Rng) -> tuple[tuple[int, int], float]:
    """A place for objects in rows below ``low`` of the height, and what was measured around it (1.5 m in a hole)."""
    rows, columns = canvas.depth.shape
    row = int(rng.integers(int(rows * low), rows))
    column = int(rng.integers(int(0.08 * columns), int(0.92 * columns)))
    around = canvas.depth[max(row - 4, 0) : row + 4, max(column - 4, 0) : column + 5]
    measured = around[around > 0]
    return (row, column), float(np.median(measured)) if measured.size else 1.5


def into_sensor_frame(photographs: Photographs, frames: SensorFrames, size: tuple[int, int], rng: Rng) -> Composite:
    """One or two objects in a real frame with its real depth and holes; in front of, behind or beside other things.

    What the frame holds already is unknown, not background: where the teacher sees something the loss is 0.
    Every second frame also gets smaller, blurred things of other photographs that are background.
    """
    frame = frames.window(size, rng)
    rows, columns = size
    doubt = frame.salient > DOUBT
    canvas = Canvas(
        frame.rgb.astype(np.float32),
        frame.depth.copy(),
        np.zeros(size, np.uint8),
        (~doubt).astype(np.uint8),
    )
    if rng.random() < 0.35:
        _clutter(canvas, frames, rng)
    if rng.random() < 0.5:
        bystanders(canvas, photographs, int(rng.integers(1, 4)), 0.25 * rows, rng)
    placed = []
    for _ in range(int(rng.choice([1, 1, 2]))):
        place, z = _foot(canvas, 0.3, rng)
        placed.append((place, z, float(rng.uniform(0.3, 0.75)) * rows))
    far_first = sorted(placed, key=lambda entry: -entry[1])
    pasted = 0
    for place, z, side in far_first:
        cutout = photographs.cutout(rng)
        if cutout is None:
            continue
        nearer = float(rng.uniform(0.0, 0.15)) if rng.random() < 0.7 else 0.0
        hidden = rng.random() < 0.5
        pasted += paste(canvas, turned(cutout, side, rng), place, z * (1 - nearer), rng, salient=True, hidden=hidden)
    if not pasted:  # nothing could be seen: one in front of everything
        cutout = photographs.cutout(rng)
        if cutout is not None:
            foot = (int(0.85 * rows), columns // 2)
            paste(canvas, turned(cutout, 0.45 * rows, rng), foot, 0.6, rng, salient=True, hidden=False)
    return _finished(canvas, rng)


def bystanders(canvas: Canvas, photographs: Photographs, count: int, largest: float, rng: Rng) -> None:
    """Things of other photographs that are background: at most ``largest`` pixels, farther, out of focus, cut off.

    They stand behind what is salient already and on either side of it. An object is not salient because its outline
    is sharp or because it was pasted.
    """
    rows, columns = canvas.depth.shape
    for _ in range(count):
        cutout = photographs.cutout(rng)
        if cutout is None:
            continue
        thing = turned(cutout, float(rng.uniform(0.35, 1)) * max(largest, 12.0), rng)
        if rng.random() < 0.7:
            sigma = float(rng.uniform(0.5, max(0.06 * max(thing.alpha.shape), 1.0)))
            thing = Cutout(cv2.GaussianBlur(thing.rgb, (0, 0), sigma), cv2.GaussianBlur(thing.alpha, (0, 0), sigma))
        foot, z = _foot(canvas, 0.25, rng)
        if rng.random() < 0.4:  # the frame's border cuts it
            h, w = thing.alpha.shape
            foot = [(foot[0], int(0.2 * w)), (foot[0], columns - int(0.2 * w)), (rows + int(0.4 * h), foot[1])][
                int(rng.integers(3))
            ]
        salient, kept = canvas.mask > 0, (canvas.rgb.copy(), canvas.depth.copy())
        paste(canvas, thing, foot, z * float(rng.uniform(0.9, 1.6)), rng, salient=False, hidden=False)
        canvas.mask[salient] = 1  # what is salient stays in front, in colour and in depth
        canvas.rgb[salient], canvas.depth[salient] = kept[0][salient], kept[1][salient]


def _clutter(canvas: Canvas, frames: SensorFrames, rng: Rng) -> None:
    """Near and not salient: pieces of another frame's texture, in front."""
    rows, columns = canvas.depth.shape
    other = frames.window((rows, columns), rng)
    if (other.salient > DOUBT).mean() > 0.3:
        return
    for _ in range(int(rng.integers(1, 4))):
        h, w = (max(6, int(n * rng.uniform(0.08, 0.35))) for n in (rows, columns))
        top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
        window = slice(top, top + h), slice(left, left + w)
        if (other.salient[window] > DOUBT).any():
            continue
        alpha = np.zeros((h, w), np.float32)
        corners = np.stack([rng.uniform(0, w, 6), rng.uniform(0, h, 6)], 1).astype(np.int32)
        cv2.fillConvexPoly(alpha, cv2.convexHull(corners), 1.0)
        _, z = _foot(canvas, 0.3, rng)
        foot = (int(rng.integers(rows // 2, rows)), int(rng.integers(columns)))
        near = z * float(rng.uniform(0.4, 0.95))
        paste(canvas, Cutout(other.rgb[window], alpha), foot, near, rng, salient=False, hidden=False)


def on_a_table(photographs: Photographs, size: tuple[int, int], rng: Rng) -> Composite:
    """Three to fourteen small objects on a table or floor seen from above, as a depth sensor sees it.

    The plane's depth follows from the camera's height and tilt: a ray through row y meets it at
    z = height / (sin(tilt) + (y − ½)·cos(tilt)·fov), a wall stands behind it.
    """
    rows, columns = size
    y = np.linspace(-0.5, 0.5, rows, dtype=np.float32)[:, None]
    tilt, height = float(rng.uniform(0.25, 1.1)), float(rng.uniform(0.4, 1.3))
    slope = np.maximum(np.sin(tilt) + y * np.cos(tilt) * 0.9, 1e-3)
    wall = float(rng.uniform(1.2, 3.5))
    plane = np.minimum(height / slope, wall)
    depth = np.broadcast_to(plane, size).astype(np.float32).copy()
    table = (height / slope < wall)[:, 0]
    canvas = Canvas(np.zeros((rows, columns, 3), np.float32), depth, np.zeros(size, np.uint8), np.ones(size, np.uint8))
    canvas.rgb[:] = _surface(photographs, size, rng)
    back = _surface(photographs, size, rng)
    canvas.rgb[~table] = back[~table]
    first = int(np.argmax(table)) if table.any() else rows // 2
    feet = sorted(
        (int(rng.integers(min(first + rows // 12, rows - 2), rows)), int(rng.integers(columns)))
        for _ in range(int(rng.integers(3, 15)))
    )
    base = float(rng.uniform(0.1, 0.24)) * rows
    middle = float(plane[rows // 2, 0])
    for row, column in feet:
        cutout = photographs.cutout(rng)
        if cutout is None:
            continue
        z = float(plane[row, 0])
        side = base * float(rng.uniform(0.6, 1.5)) * middle / max(z, 0.2)
        if rng.random() < 0.3:
            _shadow(canvas, (row, column), side)
        paste(
            canvas, turned(cutout, min(side, 0.5 * rows), rng), (row, column), z * 0.97, rng, salient=True, hidden=False
        )
    gloss = np.zeros(size, np.float32)
    canvas.depth = measure(np.where(canvas.depth > 0, canvas.depth, plane), 0.9 * columns, gloss, rng)
    return _finished(canvas, rng)


def _shadow(canvas: Canvas, foot: tuple[int, int], side: float) -> None:
    rows, columns = canvas.depth.shape
    dark = np.zeros((rows, columns), np.float32)
    cv2.ellipse(dark, foot[::-1], (max(2, int(side * 0.4)), max(1, int(side * 0.12))), 0, 0, 360, 0.45, -1)
    canvas.rgb *= 1 - cv2.GaussianBlur(dark, (0, 0), max(1.0, side / 16))[..., None]


def _surface(photographs: Photographs, size: tuple[int, int], rng: Rng) -> Map:
    """A texture (H, W, 3): the background of a photograph, plain paint, or both mixed."""
    rows, columns = size
    paint = rng.uniform(25, 235, 3).astype(np.float32)
    plain = np.broadcast_to(paint, (rows, columns, 3)).astype(np.float32)
    shade = np.linspace(float(rng.uniform(0.7, 1.1)), float(rng.uniform(0.8, 1.2)), columns, dtype=np.float32)
    plain = plain * shade[None, :, None]
    item = photographs[int(rng.integers(len(photographs)))]
    assert item.mask is not None
    # The emptiest of a few windows of the photograph.
    h, w = (max(24, int(n * rng.uniform(0.15, 0.4))) for n in item.mask.shape)
    windows = [
        (int(rng.integers(item.mask.shape[0] - h + 1)), int(rng.integers(item.mask.shape[1] - w + 1))) for _ in range(6)
    ]
    top, left = min(windows, key=lambda at: int(np.count_nonzero(item.mask[at[0] : at[0] + h, at[1] : at[1] + w])))
    if np.count_nonzero(item.mask[top : top + h, left : left + w]) > 0.02 * h * w:
        return plain
    texture = cv2.resize(item.rgb[top : top + h, left : left + w], (columns, rows), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        texture = cv2.GaussianBlur(texture, (0, 0), float(rng.uniform(0.5, 5)))
    share = float(rng.uniform(0.1, 1.0)) if rng.random() < 0.7 else 0.0
    return np.asarray(share * texture.astype(np.float32) + (1 - share) * plain, np.float32)
