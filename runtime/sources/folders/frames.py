"""Whatever holds pictures, as frames: DATA in all its forms, and what DATA is not: photographs without any layout."""

from __future__ import annotations

from pathlib import Path

from mutualformer.runtime.sources.folders.item import DataError, Frames
from mutualformer.runtime.sources.folders.names import is_rgbd
from mutualformer.runtime.sources.walk import Picture, Pictures, tree

KINDS = ("sample", "rgbd", "synthetic")


def is_data(text: str) -> bool:
    """Whether ``text`` is DATA by its kind (``sample:…``, ``rgbd:…``, ``synthetic:N``) and no ``synthetic://``."""
    kind, colon, rest = text.partition(":")
    return bool(colon) and kind in KINDS and not rest.startswith("//") and bool(rest)


def open_frames(text: str) -> Frames:
    """A picture, a tree of pictures, or DATA. Raises DataError."""
    from mutualformer.runtime.sources.folders import (
        spec,  # here: whoever only asks :func:`is_data` need not wait for it
    )

    path = Path(text)
    if path.is_file():
        return Pictures([Picture(path.stem, path)])
    if path.is_dir() and not is_rgbd(path):
        return tree(path)
    if not path.exists() and not is_data(text) and not Path(text.partition("?")[0]).exists():
        raise DataError(f"{text}: no such file or folder, expected a picture, a folder or {spec.FORMS}")
    return spec.open_data(text)
