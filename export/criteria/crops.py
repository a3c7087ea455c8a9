"""Objects of photographs as ReID samples: what models are compared and calibrated on where real pictures are at hand.

Each masked object is one identity, seen by two cameras: as it is, and mirrored, darker and blurred before another
photograph, so that matching is hard enough for a difference between two files to show. Near-infrared is a mixture of
red and green. To compare two files of one model the textures must be real, not the reflectance.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.folders.reid_folder import ReidData, ReidItem
from mutualformer.runtime.sources.frame import Frames
from mutualformer.runtime.sources.walk import spread_over

LEAST = 16  # pixels of an object's shorter side; a smaller one shows nothing
# (margin as a share of the box, light, blur as a share of the shorter side, share of red in near-infrared) of each
# camera. Before another picture `reid-lite` errs (mAP 0.87 on 298 objects): where it has 1, no two of its files differ.
CAMERAS = ((0.05, 1.0, 0.0, 0.8), (0.2, 0.5, 0.01, 0.6))

Box = tuple[int, int, int, int]


def largest(mask: NDArray[np.uint8]) -> tuple[Box, NDArray[np.bool_]]:
    """The largest object of a mask (H, W): (left, top, width, height) in pixels, zeros where there is none, and where
    it is, (H, W)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 127).astype(np.uint8), connectivity=8)
    if count < 2:
        return (0, 0, 0, 0), np.zeros(mask.shape, bool)
    label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height, _ = (int(n) for n in stats[label])
    return (left, top, width, height), labels == label


def seen(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], camera: int, behind: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What ``camera`` shows of the largest object in ``mask``: colour and near-infrared, (h, w, 3) uint8 each.

    The second camera sees it mirrored before the picture ``behind``.
    """
    margin, light, blur, red = CAMERAS[camera]
    (left, top, width, height), where = largest(mask)
    across, down = round(margin * width), round(margin * height)
    window = np.s_[max(top - down, 0) : top + height + down, max(left - across, 0) : left + width + across]
    part = rgb[window]
    if camera:
        other = cv2.resize(behind, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_AREA)
        part = np.where(where[window][..., None], part, other)[:, ::-1]
    part = cv2.GaussianBlur(part, (0, 0), blur * min(width, height)) if blur else part
    part = np.asarray(part * np.float32(light), np.uint8)
    mixed = cv2.transform(part, np.array([[red, 1 - red, 0]] * 3, np.float32))
    return np.ascontiguousarray(part), np.asarray(mixed, np.uint8)


def identities(frames: Frames, most: int) -> ReidData:
    """The objects of up to ``most`` of ``frames``, evenly picked; the first camera asks, the second answers."""
    found = [
        index
        for index in spread_over(len(frames), most)
        if (mask := frames[index].mask) is not None and min(largest(mask)[0][2:]) >= LEAST
    ]

    def sample(row: int) -> ReidItem:
        camera, number = divmod(row, len(found))
        item = frames[found[number]]
        assert item.mask is not None
        behind = frames[found[(number + 1) % len(found)]].rgb if camera else item.rgb
        return ReidItem(*seen(item.rgb, item.mask, camera, behind), number, camera, item.name)

    labels = np.tile(np.arange(len(found)), len(CAMERAS))
    cameras = np.repeat(np.arange(len(CAMERAS)), len(found))
    rows = np.arange(len(labels))
    return ReidData(sample, labels, cameras, rows[: len(found)], rows[len(found) :])
