"""Recognises by its content whether a path is a recording, a bag, a video, a TUM folder or pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mutualformer.runtime.files import open_regular
from mutualformer.runtime.sources.bags.open_bag import bag_files, suffix
from mutualformer.runtime.sources.describe import open_lazily
from mutualformer.runtime.sources.folders.tum import is_tum
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.grammar import PATH
from mutualformer.runtime.sources.names import is_rgbd
from mutualformer.runtime.sources.pictures import DEPTH_SUFFIXES
from mutualformer.runtime.sources.walk import has_picture

VIDEOS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".ogv",
    ".mjpeg",
    ".mjpg",
    ".ts",
    ".m2ts",
    ".3gp",
    ".flv",
    ".h264",
    ".hevc",
)


def recognise(path: Path) -> tuple[str, Path]:
    """Kind and place of an existing file or folder. Raises DataError where nothing fits.

    ``--record FOLDER`` writes a folder below FOLDER: a FOLDER that holds one recording and nothing else means that one.
    """
    for fits, kind in FOLDERS if path.is_dir() else FILES:
        if fits(path):
            return kind, path
    if not path.is_dir():
        raise DataError(
            f"file {str(path)!r} is no recording (.mcap, .db3, .bag), video or picture that this program knows"
        )
    inside = sorted(one for one in path.iterdir() if one.is_dir() and any(one.glob("*.mcap")))
    if len(inside) == 1:
        return recognise(inside[0])
    if inside:
        raise DataError(f"folder {str(path)!r} holds {len(inside)} recordings; name one: {inside[-1]}")
    raise DataError(
        f"folder {str(path)!r} holds neither rgb.txt and depth.txt (TUM), metadata.yaml (ROS 2 bag) nor .mcap "
        "files, nor any picture; for two folders of images use pairs:RGB_DIR,DEPTH_DIR"
    )


def from_librealsense(path: Path) -> bool:
    """True where a ``.bag`` or ``.db3`` was written by librealsense: its topics start with ``/device_``.

    Both containers hold topic names in their first messages and, where those are compressed, once more in the index at
    the end: searching the first and last 4 MiB finds them.
    """
    with open_regular(path, sys.maxsize) as stream:
        if b"/device_0/" in stream.read(4 << 20):
            return True
        stream.seek(max(0, path.stat().st_size - (4 << 20)))
        return b"/device_0/" in stream.read(4 << 20)


def _has_mcap(folder: Path) -> bool:
    return any(suffix(path) == ".mcap" for path in bag_files(folder))


def _is_picture(path: Path) -> bool:
    """Whether the file begins as a picture that this program reads. Its name does not matter."""
    try:
        with open_lazily(path):
            return True
    except (OSError, ValueError, SyntaxError):
        return False


# In this order: the first that fits decides.
FOLDERS: list[tuple[Callable[[Path], bool], str]] = [
    (is_tum, "tum"),
    (lambda folder: (folder / "metadata.yaml").is_file(), "rosbag"),
    (_has_mcap, "recording"),
    (lambda folder: bool(bag_files(folder)), "rosbag"),
    (lambda folder: is_rgbd(folder) or has_picture(folder), PATH),
]
FILES: list[tuple[Callable[[Path], bool], str]] = [
    (lambda path: path.suffix.lower() == ".mcap", "recording"),
    (lambda path: path.suffix.lower() in (".bag", ".db3") and from_librealsense(path), "realsense-file"),
    (lambda path: bool(suffix(path)), "rosbag"),
    (lambda path: path.suffix.lower() in VIDEOS, "video"),
    (lambda path: path.suffix.lower() in DEPTH_SUFFIXES or _is_picture(path), PATH),
]
