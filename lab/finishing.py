"""What finishing gains: the table of docs/predict.md.

python -m lab.finishing [sod-lite] --photographs ROOT [--skip 100 --count 200]

The constants of finishing were chosen on the first 100 photographs of our part of DUTS-TE. ROOT holds ``RGB/`` and
``GT/``. The large pictures are composites of these photographs: an object that the model finds well, enlarged with a
sharp outline, on another photograph out of focus (so that there is one object), with masks that are exact at 24
megapixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import mutualformer
from mutualformer.runtime.images.rendering import grey
from mutualformer.runtime.prediction.result import Prediction
from mutualformer.runtime.sources.masks import read_mask
from mutualformer.runtime.sources.pictures import read_colour

LARGE = (4000, 6000)  # rows, columns: 24 megapixels
COMPOSITES = 4
CANDIDATES = 8  # photographs whose objects are taken for composites: the ones that the model finds best
BLUR = 30  # the background's longer side over the standard deviation of its blur
MARGIN = 0.02  # of the diagonal: width of the band that boundary IoU compares (Cheng 2021)
COLUMNS = ("half", "left over", "missing", "boundary IoU", "MAE", "edge px")
Levels = NDArray[np.uint8]


def scores(alpha: Levels, truth: NDArray[np.bool_]) -> list[float]:
    """The columns but the last for alpha (H, W) 0 … 255 and a mask of that size; NaN where nothing was found."""
    share = alpha.astype(np.float32) / 255
    covered = float(share.sum())
    return [
        float(np.mean((share[truth] > 0.1) & (share[truth] < 0.9))),
        float(share[~truth].sum()) / covered if covered else float("nan"),
        float(np.mean(1 - share[truth])),
        boundary_iou(alpha > 127, truth),
        float(np.mean(np.abs(share - truth))),
    ]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def boundary_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of the bands inside both outlines."""
    width = max(1, round(MARGIN * float(np.hypot(*one.shape))))
    bands = [mask & ~inside(mask, width) for mask in (one, other)]
    return iou(bands[0], bands[1])


def inside(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of ``mask`` more than ``width`` pixels from its outline; the border of the picture is outline too."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > width)


def edge(alpha: Levels, truth: NDArray[np.bool_]) -> float:
    """Median length in pixels of the ramps from 10 to 90 % along rows, near the true outline and not slanted."""
    lengths = []
    for row in range(truth.shape[0] // 8, truth.shape[0], max(1, truth.shape[0] // 64)):
        for column in np.flatnonzero(truth[row, 1:] & ~truth[row, :-1]):
            line = alpha[row, max(0, column - 300) : column + 300].astype(np.float32) / 255
            low, high = np.flatnonzero(line < 0.1), np.flatnonzero(line > 0.9)
            if len(low) and len(high) and len(before := low[low < high[-1]]):
                lengths.append(float(high[high > before[-1]][0] - before[-1]))
    return float(np.median(lengths)) if lengths else float("nan")


def composites(found: list[tuple[float, NDArray[np.uint8], NDArray[np.bool_]]]) -> Iterator[tuple[Any, Any]]:
    """(picture, mask) of :data:`LARGE`: each object on another photograph. ``found``: (quality, picture, mask)."""
    best = sorted(found, key=lambda one: -one[0])[:CANDIDATES]
    for number in range(COMPOSITES):
        (_, rgb, mask), (_, ground, _) = best[number], best[CANDIDATES - 1 - number]
        size = LARGE[::-1]
        soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        sharp = cv2.GaussianBlur(soft, (0, 0), LARGE[0] / 200) > 0.5
        vague = cv2.GaussianBlur(ground, (0, 0), max(ground.shape[:2]) / BLUR)
        front, back = (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in (rgb, vague))
        yield np.where(sharp[..., None], front, back), sharp


def table(rows: dict[str, list[list[float]]]) -> str:
    """One line for each kind of alpha: means over the pictures."""
    lines = [" " * 26 + "".join(f"{name:>14}" for name in COLUMNS)]
    for name, values in rows.items():
        means = [float(np.mean(kept)) if len(kept := column[~np.isnan(column)]) else 0 for column in np.array(values).T]
        lines.append(f"{name:26}" + "".join(f"{value:14.3f}" for value in means))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the table. Exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="sod-lite")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with RGB/ and GT/")
    parser.add_argument("--skip", type=int, default=0, help="number of photographs to leave out, in the order of names")
    parser.add_argument("--count", type=int, default=60, help="number of photographs after these")
    args = parser.parse_args(argv)
    rows: dict[str, list[list[float]]] = {}

    def measure(kind: str, result: Prediction, truth: NDArray[np.bool_], large: bool) -> None:
        for name, alpha in (("raw", grey(result.mask)), ("finished", result.alpha)):
            values = [*scores(alpha, truth), edge(alpha, truth) if large else float("nan")]
            rows.setdefault(f"{kind}, {name}", []).append(values)

    found = []
    with mutualformer.load(args.model) as session:
        for path in sorted((args.photographs / "RGB").iterdir())[args.skip : args.skip + args.count]:
            truth = read_mask(args.photographs / "GT" / f"{path.stem}.png").pixels > 0
            result = mutualformer.predict(session, path)
            measure("photographs", result, truth, False)
            found.append((iou(result.mask > 0.5, truth), read_colour(path), truth))
        for rgb, truth in composites(found):
            measure("24 megapixels", mutualformer.predict(session, rgb), truth, True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
