"""S-measure, F-measure, E-measure and MAE of one saliency map, in NumPy alone.

PySODMetrics is the reference, and the tests hold these numbers to its; importing it would bring SciPy, scikit-image and
scikit-learn, 250 MB, to every device that evaluates a model. As there, a map is stretched to [0, 1] first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
BETA_SQUARED = 0.3  # weight of precision in F (Achanta et al., CVPR 2009)
OBJECT_SHARE = 0.5  # α of the S-measure: object against region similarity
EPSILON = float(np.spacing(1))
THRESHOLDS = 256


@dataclass(frozen=True)
class SaliencyScores:
    """The scores of one map. The curves are (256,): entry i has the map thresholded at 255 − i of 255."""

    s_measure: float
    mae: float
    f_curve: Float
    e_curve: Float


def saliency_scores(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> SaliencyScores:
    """``grey``: the map, 0 … 255; ``mask``: the object is above 128; both (H, W), at least two pixels.

    S-measure of Fan et al. (ICCV 2017), F of Achanta et al. (CVPR 2009), E of Fan et al. (IJCAI 2018), MAE of Perazzi
    et al. (CVPR 2012).
    """
    truth = mask > 128
    values = grey / 255.0
    low, high = values.min(), values.max()
    if high != low:
        values = (values - low) / (high - low)
    levels = (values * 255).astype(np.uint8)
    hits = np.cumsum(np.bincount(levels[truth], minlength=THRESHOLDS)[::-1])
    false_alarms = np.cumsum(np.bincount(levels[~truth], minlength=THRESHOLDS)[::-1])
    objects = int(np.count_nonzero(truth))
    precision = hits / np.maximum(hits + false_alarms, 1)
    recall = hits / max(objects, 1)
    product = (1 + BETA_SQUARED) * precision * recall
    return SaliencyScores(
        _s_measure(values, truth),
        float(np.mean(np.abs(values - truth))),
        product / np.where(product == 0, 1.0, BETA_SQUARED * precision + recall),
        _e_curve(hits, false_alarms, objects, truth.size),
    )


def _e_curve(hits: NDArray[np.int64], false_alarms: NDArray[np.int64], objects: int, size: int) -> Float:
    """Enhanced alignment at every threshold, from the counts of the four kinds of pixels."""
    claimed = hits + false_alarms
    if objects == 0:
        return (size - claimed) / (size - 1 + EPSILON)
    if objects == size:
        return claimed / (size - 1 + EPSILON)
    misses = objects - hits
    rejections = size - claimed - misses
    mean_map, mean_truth = claimed / size, objects / size
    total = np.zeros(THRESHOLDS)
    for count, map_value, truth_value in (
        (hits, 1, 1),
        (false_alarms, 1, 0),
        (misses, 0, 1),
        (rejections, 0, 0),
    ):
        a, b = map_value - mean_map, truth_value - mean_truth
        alignment = 2 * a * b / (a**2 + b**2 + EPSILON)
        total += (alignment + 1) ** 2 / 4 * count
    return np.asarray(total / (size - 1 + EPSILON), np.float64)


def _s_measure(values: Float, truth: NDArray[np.bool_]) -> float:
    share = float(np.mean(truth))
    if share == 0:
        return float(1 - np.mean(values))
    if share == 1:
        return float(np.mean(values))
    objects = share * _uniform_contrast(values[truth]) + (1 - share) * _uniform_contrast(1 - values[~truth])
    return max(0.0, OBJECT_SHARE * objects + (1 - OBJECT_SHARE) * _regions(values, truth))


def _uniform_contrast(values: Float) -> float:
    """How bright and even the values of an object are, (n,)."""
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + EPSILON)


def _regions(values: Float, truth: NDArray[np.bool_]) -> float:
    """Structural similarity of the four parts around the object's centre, weighted by their area."""
    height, width = truth.shape
    # The centre's own row and column belong to the upper left part, as in the authors' MATLAB.
    row, column = (int(c) + 1 for c in np.argwhere(truth).mean(axis=0).round())
    total = 0.0
    for rows in (slice(0, row), slice(row, height)):
        for columns in (slice(0, column), slice(column, width)):
            part = values[rows, columns]
            if part.size:
                total += part.size / truth.size * _similarity(part, truth[rows, columns])
    return total


def _similarity(part: Float, truth: NDArray[np.bool_]) -> float:
    """SSIM of one part as a whole, without its constants."""
    x, y = float(np.mean(part)), float(np.mean(truth))
    count = part.size - 1 + EPSILON
    dx, dy = part - x, truth - y
    numerator = 4 * x * y * float(np.sum(dx * dy)) / count
    denominator = (x**2 + y**2) * (float(np.sum(dx**2)) + float(np.sum(dy**2))) / count
    if numerator != 0:
        return numerator / (denominator + EPSILON)
    return 1.0 if denominator == 0 else 0.0
