"""Folders of small rendered frames on disk, in the public sets' spelling."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mutualformer.runtime.sources.scenes.scene import scene


def write_rgbd(
    root: Path,
    count: int,
    seed: int = 0,
    polarity: str = "near_bright",
    size: tuple[int, int] = (48, 64),
    folders: tuple[str, str, str] = ("RGB", "depth", "GT"),
) -> Path:
    """``count`` synthetic scenes as JPEG colour, 8-bit inverse depth and PNG masks."""
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        built = scene(seed * 1000 + index, size)
        inverse = 1 / built.true_depth
        share = (inverse - inverse.min()) / np.ptp(inverse)
        grey = (255 * (share if polarity == "near_bright" else 1 - share) + 0.5).astype(np.uint8)
        rgb = cv2.cvtColor(built.rgb, cv2.COLOR_RGB2BGR)
        for folder, image, suffix in zip(folders, (rgb, grey, built.mask), ("jpg", "png", "png"), strict=True):
            cv2.imwrite(str(root / folder / f"{index:04d}.{suffix}"), image)
    return root
