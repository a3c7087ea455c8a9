"""Source addresses: ``SCHEME:TARGET?OPTIONS`` or a bare path, whose content tells what it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import unquote

from mutualformer.runtime.sources.bags.open_bag import bag_files, suffix
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.folders.frames import is_data
from mutualformer.runtime.sources.folders.item import DataError
from mutualformer.runtime.sources.folders.tum import is_tum
from mutualformer.runtime.sources.pictures import COLOUR_SUFFIXES
from mutualformer.runtime.sources.walk import walk

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv", ".mjpeg", ".mjpg")

# What stands behind the last "?" is options only if it looks like some: a path may hold a "?" itself.
OPTIONS = re.compile(r"(\w+(=[^&]*)?(&\w+(=[^&]*)?)*)?", re.ASCII)


def split(uri: str, schemes: Collection[str]) -> tuple[str, str, dict[str, str]]:
    """Address → (scheme, target, options); a bare path gets the scheme its content tells. Raises CameraError."""
    head, colon, rest = uri.partition(":")
    if is_data(uri) and not _exists(uri):
        return "dataset", *_cut(uri)
    if colon and head in schemes and not _exists(uri):
        target, options = _cut(rest)
        return head, target[2:] if target.startswith("//") else target, options
    path, options = _cut(uri)
    if is_webcam(path):
        return "webcam", path, options
    if not _exists(path):
        return head, path, options
    place = _only_recording(Path(path))
    return recognise(place or Path(path)), str(place or path), options


def is_webcam(text: str) -> bool:
    """``0`` or ``/dev/video0``."""
    return (text.isascii() and text.isdigit() and len(text) < 4) or text.startswith("/dev/video")


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than names may be, or holding a zero byte
        return False


def _cut(text: str) -> tuple[str, dict[str, str]]:
    """Target and options, which stand behind the last question mark; a "+" in them is a "+"."""
    target, mark, query = text.rpartition("?")
    if not mark or _exists(text) or not OPTIONS.fullmatch(query):
        return text, {}
    pairs = (part.partition("=") for part in query.split("&") if part)
    return target, {key: unquote(value, errors="surrogateescape") for key, _, value in pairs}


def recognise(path: Path) -> str:
    """The scheme of an existing file or folder, read off its content. Raises CameraError where nothing fits."""
    table = FOLDERS if path.is_dir() else FILES
    for fits, scheme in table:
        if fits(path):
            return scheme
    if not path.is_dir():
        raise CameraError(
            f"file {str(path)!r} is no recording (.mcap, .db3, .bag), video or picture that this program knows"
        )
    inside = _recordings(path)
    if inside:
        raise CameraError(f"folder {str(path)!r} holds {len(inside)} recordings; name one: {inside[-1]}")
    raise CameraError(
        f"folder {str(path)!r} holds neither rgb.txt and depth.txt (TUM), metadata.yaml (ROS 2 bag) nor .mcap "
        "files, nor any picture; for two folders of images use pairs:RGB_DIR,DEPTH_DIR"
    )


def _recordings(folder: Path) -> list[Path]:
    """The folders in ``folder`` that ``--record`` may have written, the newest last."""
    return sorted(inside for inside in folder.iterdir() if inside.is_dir() and any(inside.glob("*.mcap")))


def _only_recording(path: Path) -> Path | None:
    """What ``--record path`` wrote, where that is one recording and nothing else that is played."""
    if not path.is_dir() or any(fits(path) for fits, _ in FOLDERS):
        return None
    inside = _recordings(path)
    return inside[0] if len(inside) == 1 else None


def from_librealsense(path: Path) -> bool:
    """True where a ``.bag`` or ``.db3`` was written by librealsense: its topics start with ``/device_``.

    The topic names stand in the first messages of either container, so the beginning of the file tells; where chunks
    are compressed the end does, which lists the topics once more.
    """
    with path.open("rb") as stream:
        if b"/device_0/" in stream.read(4 << 20):
            return True
        stream.seek(max(0, path.stat().st_size - (4 << 20)))
        return b"/device_0/" in stream.read(4 << 20)


def _has_mcap(folder: Path) -> bool:
    return any(suffix(path) == ".mcap" for path in bag_files(folder))


def _has_picture(folder: Path) -> bool:
    try:
        return next(walk(folder), None) is not None
    except DataError as error:
        raise CameraError(str(error)) from error


# In this order: the first that fits decides.
FOLDERS: list[tuple[Callable[[Path], bool], str]] = [
    (is_tum, "tum"),
    (lambda folder: (folder / "metadata.yaml").is_file(), "rosbag"),
    (_has_mcap, "recording"),
    (lambda folder: bool(bag_files(folder)), "rosbag"),
    (_has_picture, "dataset"),
]
FILES: list[tuple[Callable[[Path], bool], str]] = [
    (lambda path: path.suffix.lower() == ".mcap", "recording"),
    (lambda path: path.suffix.lower() in (".bag", ".db3") and from_librealsense(path), "realsense-file"),
    (lambda path: bool(suffix(path)), "rosbag"),
    (lambda path: path.suffix.lower() in VIDEOS, "video"),
    (lambda path: path.suffix.lower() in COLOUR_SUFFIXES, "dataset"),
]
