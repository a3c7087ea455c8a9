"""The real RGB-D pair ``sample:motorcycle`` (Middlebury 2014), from a folder.

It has no ground truth. The folder is ``$MUTUALFORMER_SAMPLES/motorcycle`` with rgb.png, depth.png (16 bit) and
camera.json (``depth_scale_m``).
"""

from __future__ import annotations

import os
from pathlib import Path

from mutualformer.runtime.sources.folders.file_frames import FileFrames, ReadOptions
from mutualformer.runtime.sources.frame import DataError, Frames
from mutualformer.runtime.sources.walk import Entry


def sample(name: str, options: ReadOptions) -> Frames:
    """The frame of a sample. Raises DataError where it is not available."""
    if name != "motorcycle":
        raise DataError(f"sample:{name} is unknown, expected sample:motorcycle")
    folder = Path(os.environ.get("MUTUALFORMER_SAMPLES", "")) / name
    if not folder.is_dir():
        raise DataError(
            f"sample:{name}: there is no folder {folder}; let MUTUALFORMER_SAMPLES name one that holds {name}/ with "
            "rgb.png and depth.png"
        )
    entry = Entry(name, folder / "rgb.png", folder / "depth.png")
    return FileFrames([entry], options, name=f"sample:{name}", root=folder)
