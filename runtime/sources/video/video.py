"""Video files, played by :mod:`player` in a process of its own.

Decoders are large native libraries that get untrusted files: one that crashes, hangs or takes all memory must
not end the program; see :mod:`child`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.child import ChildCamera


def videos(target: str) -> tuple[Path, Path | None]:
    """(colour, depth or None) of ``target``: one video, or two separated by a comma."""
    first, comma, second = target.rpartition(",")
    whole = not comma or Path(target).is_file()
    return (Path(target), None) if whole else (Path(first), Path(second))


def open_source(target: str, query: Mapping[str, Any]) -> ChildCamera:
    """``target``: the colour video, or colour and depth separated by a comma."""
    for path in filter(None, videos(target)):
        if not path.is_file():
            raise CameraError(f"{path}: no such video file")
    return ChildCamera("video.player", target, query, f"video:{target}")
