"""The real RGB-D pair ``sample:motorcycle`` (Middlebury 2014), from a folder or through scikit-image.

It has no ground truth. The folder is ``$MUTUALFORMER_SAMPLES/motorcycle`` with rgb.png, depth.png (16 bit) and
camera.json (``depth_scale_m``); without it the stereo pair is fetched by ``skimage.data.stereo_motorcycle``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mutualformer.runtime.sources.folders.file_frames import FileFrames
from mutualformer.runtime.sources.frame import DataError, Frames, Item
from mutualformer.runtime.sources.walk import Entry

SAMPLES = ("motorcycle",)
# The pair's calibration at the quarter size in which scikit-image ships it (Middlebury 2014, calib.txt ÷ 4).
FOCAL_PX, BASELINE_M, DISPARITY_OFFSET_PX = 994.978, 0.193001, 31.086


class Held(list[Item]):
    """Frames in memory, with depth."""

    has_depth = True


def sample(name: str) -> Frames:
    """The frame of a sample. Raises DataError where it is not available."""
    if name not in SAMPLES:
        raise DataError(f"sample:{name} is unknown, expected one of {', '.join('sample:' + s for s in SAMPLES)}")
    root = os.environ.get("MUTUALFORMER_SAMPLES")
    if not root:
        return Held([_from_skimage(name)])
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected rgb.png and depth.png in it (set by MUTUALFORMER_SAMPLES)")
    return FileFrames([Entry(name, folder / "rgb.png", folder / "depth.png")], name=f"sample:{name}", root=folder)


def _from_skimage(name: str) -> Item:
    hint = (
        "set MUTUALFORMER_SAMPLES to a folder that holds motorcycle/, or connect and `pip install scikit-image pooch`"
    )
    try:
        from skimage.data import stereo_motorcycle

        left, _, disparity = stereo_motorcycle()
    except Exception as error:  # pooch raises whatever its transport raises
        raise DataError(
            f"sample:{name} cannot be fetched ({type(error).__name__}: {str(error)[:80]}); {hint}"
        ) from error
    disparity = np.nan_to_num(np.asarray(disparity, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    metres = np.float32(FOCAL_PX * BASELINE_M) / (disparity + np.float32(DISPARITY_OFFSET_PX))
    depth = np.where(disparity > 0, metres, np.float32(0)).astype(np.float32)
    return Item(np.ascontiguousarray(left[..., :3], dtype=np.uint8), depth, None, name)
