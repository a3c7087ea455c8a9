"""Objects of photographs as ReID samples: what models are compared and calibrated on where real pictures are at hand.

Each masked object is one identity, seen by two cameras: as it is, and darker, blurred, cut out otherwise. Near-infrared
is a mixture of red and green. To compare two files of one model the textures must be real, not the reflectance.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.folders.reid_folder import ReidData, ReidItem
from mutualformer.runtime.sources.frame import Frames
from mutualformer.runtime.sources.walk import spread_over

LEAST = 16  # pixels of an object's shorter side; a smaller one shows nothing
# (margin as a share of the box, light, blur in pixels, share of red in near-infrared) of each camera
CAMERAS = ((0.05, 1.0, 0.0, 0.8), (0.2, 0.5, 1.0, 0.6))


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


def seen(rgb: NDArray[np.uint8], box: Box, camera: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What ``camera`` shows of the object in ``box``: colour and near-infrared, (h, w, 3) uint8 each."""
    margin, light, blur, red = CAMERAS[camera]
    left, top, width, height = box
    across, down = round(margin * width), round(margin * height)
    part = rgb[max(top - down, 0) : top + height + down, max(left - across, 0) : left + width + across]
    part = cv2.GaussianBlur(part, (0, 0), blur) if blur else part
    part = np.asarray(part * np.float32(light), np.uint8)
    mixed = cv2.transform(part, np.array([[red, 1 - red, 0]] * 3, np.float32))
    return np.ascontiguousarray(part), np.asarray(mixed, np.uint8)


def identities(frames: Frames, most: int) -> ReidData:
    """The objects of up to ``most`` of ``frames``, evenly picked; the first camera asks, the second answers."""
    found = []
    for index in spread_over(len(frames), most):
        item = frames[index]
        if item.mask is not None and min((box := largest(item.mask)[0])[2:]) >= LEAST:
            found.append((index, box))

    def sample(row: int) -> ReidItem:
        camera, number = divmod(row, len(found))
        index, box = found[number]
        item = frames[index]
        return ReidItem(*seen(item.rgb, box, camera), number, camera, item.name)

    labels = np.tile(np.arange(len(found)), len(CAMERAS))
    cameras = np.repeat(np.arange(len(CAMERAS)), len(found))
    rows = np.arange(len(labels))
    return ReidData(sample, labels, cameras, rows[: len(found)], rows[len(found) :])
