"""From the network's map to an alpha: specks removed, gaps filled, a clean edge at the picture's own size.

The map is coarse (320² for every picture) and uncertain along outlines. Its certain values are kept. In the uncertain
band colours decide: each pixel is compared with the mean colours of object and background nearby, and moves towards
them as far as the two colours differ. Large pictures are refined at two sizes and enlarged from the second, so that
time and memory grow linearly with the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.rendering import grey
from mutualformer.runtime.preprocess import restore

Map = NDArray[np.float32]

LEAN = 0.2  # networks draw outlines too far out: a threshold of 0.6 leaves less background and loses no object
DOUBT = (0.35, 0.65)  # saliency between which colours decide; outside the alpha is 0 or 1
SMOOTH = 0.6  # pixels, standard deviation
SPECK = 0.02  # regions and gaps smaller than this share of the largest region count as mistakes
RADIUS = 10  # pixels around one whose colours are compared
LEAST = 0.02  # share of these pixels that must belong to a side for its mean colour to count
NEVER = 1e9  # a variance so large that the mean has no weight
COARSE, FINE = 512, 2048  # longest sides at which the edge is refined
SMALL = 768  # pixels; a picture no longer than this is refined once, at its own size


def finish(saliency: Map, rgb: NDArray[np.uint8], threshold: float = 0.5) -> NDArray[np.uint8]:
    """Saliency (h, w) in [0, 1] of any size and its picture (H, W, 3) → alpha (H, W), 0 … 255.

    ``threshold``: saliency of an object's pixels; the edge is put :data:`LEAN` of the way from there to 1.
    """
    height, width = rgb.shape[:2]
    alpha = clean(centred(np.asarray(saliency, np.float32), threshold))
    longest = max(height, width)
    fine = shrunk(rgb, FINE)
    for small in (fine,) if longest <= SMALL else (shrunk(fine, COARSE), fine):
        alpha = curve(refine(restore(alpha, (small.shape[0], small.shape[1])), small))
    levels = grey(alpha)
    if levels.shape == (height, width):
        return levels
    return np.asarray(cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """No side longer than ``longest`` pixels."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def centred(saliency: Map, threshold: float) -> Map:
    """The map stretched so that the place of the edge becomes one half; 0 and 1 stay what they are."""
    knots = (0.0, threshold + LEAN * (1 - threshold), 1.0)
    return np.asarray(np.interp(saliency, knots, (0.0, 0.5, 1.0)), np.float32)


def curve(alpha: Map) -> Map:
    """0 below :data:`DOUBT`, 1 above it, smooth between, so that no object comes out half transparent."""
    low, high = DOUBT
    step = np.clip((alpha - low) / (high - low), 0, 1, dtype=np.float32)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def clean(saliency: Map) -> Map:
    """The map without specks and without faint regions that touch no object; small gaps filled."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(saliency > 0.5, np.uint8), connectivity=8)
    if count < 2:
        return np.zeros_like(saliency)
    large = stats[:, cv2.CC_STAT_AREA] >= SPECK * stats[1:, cv2.CC_STAT_AREA].max()
    large[0] = False
    kept = np.take(large, labels)
    faint = cv2.connectedComponents(np.asarray(saliency > DOUBT[0], np.uint8), connectivity=8)[1]
    belongs = np.zeros(int(faint.max()) + 1, bool)
    belongs[faint[kept]] = True
    wanted = np.take(belongs, faint)
    if not large[1:].all():
        wanted &= kept | (saliency <= 0.5)
    cleaned = saliency * wanted
    holes = enclosed(~kept, SPECK * kept.sum())
    return np.asarray(cleaned if holes is None else np.maximum(cleaned, holes), np.float32)


def enclosed(background: NDArray[np.bool_], most: float) -> NDArray[np.bool_] | None:
    """Regions of less than ``most`` pixels that touch no border; None where there are none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(background.astype(np.uint8), connectivity=4)
    left, top, right, bottom = stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    inside = (left > 0) & (top > 0) & (right < background.shape[1]) & (bottom < background.shape[0])
    holes = inside & (stats[:, cv2.CC_STAT_AREA] < most)
    holes[0] = False  # label 0 is the object itself
    return np.asarray(np.take(holes, labels)) if holes.any() else None


def foreground(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with the object's own colour at half-transparent pixels, free of the old background.

    One step of blur fusion (Forte 2021): the mean colours of both sides nearby, corrected by the pixel itself.
    """
    rows, columns = np.nonzero((alpha > 0) & (alpha < 255))
    if not len(rows):
        return rgb
    small, levels = shrunk(rgb, FINE // 2), shrunk(alpha, FINE // 2)
    front, back = Side(small, levels > 230), Side(small, levels < 25)
    height, width = front.spread.shape
    y, x = rows * height // alpha.shape[0], columns * width // alpha.shape[1]
    share = alpha[rows, columns, None].astype(np.float32) / 255
    inside, outside, pixel = front.mean[y, x], back.mean[y, x], rgb[rows, columns]
    own = inside + share * (pixel - share * inside - (1 - share) * outside)
    told = (front.spread[y, x] < NEVER) & (back.spread[y, x] < NEVER)
    freed: NDArray[np.uint8] = rgb.copy()
    freed[rows[told], columns[told]] = np.clip(own[told] + 0.5, 0, 255).astype(np.uint8)
    return freed


def refine(alpha: Map, rgb: NDArray[np.uint8]) -> Map:
    """Alpha (H, W) and picture of that size: uncertain pixels follow the colours where these differ."""
    low, high = DOUBT
    band = (alpha > low) & (alpha < high)
    if not band.any():
        return alpha
    front, back = Side(rgb, alpha >= high), Side(rgb, alpha <= low)
    rows, columns = np.nonzero(band)
    inside, outside, pixel = front.mean[rows // 2, columns // 2], back.mean[rows // 2, columns // 2], rgb[rows, columns]
    apart = inside - outside
    distance = np.einsum("ij,ij->i", apart, apart)
    position = np.einsum("ij,ij->i", pixel - outside, apart) / np.maximum(distance, 1)
    trust = distance / (distance + front.spread[rows // 2, columns // 2] + back.spread[rows // 2, columns // 2] + 1)
    refined = alpha.copy()
    refined[rows, columns] += trust * (np.clip(position, 0, 1) - alpha[rows, columns])
    return np.asarray(cv2.GaussianBlur(refined, (5, 5), SMOOTH), np.float32)  # decided one by one, pixels are noisy


class Side:
    """The colours of one side of the outline, around each pixel of a picture of half the size.

    ``mean`` (h, w, 3): mean colour of the pixels in ``mask`` nearby. ``spread`` (h, w): their summed variance, which is
    :data:`NEVER` where there are too few nearby.
    """

    def __init__(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        size = -(-rgb.shape[1] // 2), -(-rgb.shape[0] // 2)
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        whole = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        only = cv2.bitwise_and(small, small, mask=whole)
        weight = np.maximum(around(whole), 1e-6)
        self.mean = around(only) / weight[..., None]
        bright = cv2.cvtColor(only, cv2.COLOR_RGB2GRAY)
        level = around(bright) / weight
        variance = np.maximum(around(bright, squared=True) / weight - level * level, 0)
        self.spread = np.where(weight < LEAST, NEVER, 3 * variance)


def around(image: NDArray[np.uint8], squared: bool = False) -> Map:
    """Means over the window around each pixel, of values or of their squares."""
    side = RADIUS + 1  # of the half-sized picture
    average = cv2.sqrBoxFilter if squared else cv2.boxFilter
    return np.asarray(average(image, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)
