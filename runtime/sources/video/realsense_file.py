"""Recordings made by librealsense, played by :mod:`realsense_player` in a process of its own.

librealsense may read a corrupt file for ever while it holds the GIL, which nothing inside the process can end;
see :mod:`child`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.child import ChildCamera


def open_source(target: str, query: Mapping[str, Any]) -> ChildCamera:
    """``target``: the file."""
    if not Path(target).is_file():
        raise CameraError(f"{target}: no such recording")
    return ChildCamera("video.realsense_player", target, query, target)
