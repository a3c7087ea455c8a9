"""The one grammar of addresses: ``KIND:TARGET?OPTION=VALUE&…``, or a bare path. Nothing is opened here.

    photo.jpg  photos/  NJU2K_TEST/  film.mp4  take1/  drive.bag     a path; its content decides what it is
    tum:FOLDER   pairs:COLOUR_DIR,DEPTH_DIR   sample:motorcycle      folders that need a word
    rgbd:ROOT/NAME+NAME   reid:ROOT/NAME   photo:ROOT                standard sets by name; training photographs
    synthetic:N[?seed=S]                                             N rendered scenes, or identities for ReID
    recording:FILE  rosbag:FILE  video:COLOUR,DEPTH                  where a path alone would not do
    realsense://  oak://  orbbec://  openni2://  csi://0  v4l2:///dev/video0  webcam:0  0  synthetic://    live
    rtsp://HOST/PATH   http://HOST/PATH                              network cameras, given as they are

``A+B`` joins several addresses of files. A path that exists is taken whole, whatever characters its name holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mutualformer.runtime.sources.frame import DataError

PATH = "path"  # the kind of an address that names a file or folder and no kind
NETWORK = ("rtsp", "rtsps", "http", "https")  # their "?" belongs to the URL
LIVE = (*NETWORK, "realsense", "oak", "orbbec", "openni2", "csi", "v4l2", "webcam")
DATA = ("sample", "synthetic", "rgbd", "reid", "photo", "dataset")
SETS = ("rgbd", "reid")  # standard sets by name below a root
PLAYED = ("recording", "rosbag", "video", "realsense-file")
MOST_JOINED = 256  # parts of an address between its plus signs; every run of them may be the name of a file
KINDS = (*LIVE, *DATA, "tum", "pairs", *PLAYED)
# The text after the last "?" is options only if it looks like options: a path may hold a "?" itself.
OPTIONS = re.compile(r"(\w[\w-]*(=[^&]*)?(&\w[\w-]*(=[^&]*)?)*)?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """``kind``: one of :data:`KINDS` or :data:`PATH`. ``target``: what follows it. ``options``: as text."""

    kind: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The address as a person would type it."""
        head = "" if self.kind == PATH or self.kind in NETWORK else f"{self.kind}:"
        query = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{head}{self.target}" + (f"?{query}" if query else "")

    @property
    def simulated(self) -> bool:
        """Whether it is the moving room, which has no number of scenes."""
        return self.kind == "synthetic" and self.target in ("", "//")

    @property
    def played(self) -> bool:
        """Whether frames come one after another: cameras, the moving room, recordings and videos."""
        return self.kind in LIVE or self.kind in PLAYED or self.simulated

    @property
    def ends(self) -> bool:
        """Whether there is a last frame: not of cameras, nor of the moving room without ``frames=``."""
        return self.kind not in LIVE and not (self.simulated and self.options.get("frames", "0") == "0")

    @property
    def short(self) -> str:
        """A name for files and tables: the set's, the folder's last part, ``synthetic-60-seed-3``."""
        if self.kind == "webcam":
            return f"webcam-{Path(self.target).name}"
        if self.kind in LIVE or self.simulated:
            return self.kind
        if self.kind in DATA[:2]:
            return "-".join(
                [self.kind, self.target.strip("/"), *(word for item in self.options.items() for word in item)]
            )
        path = Path(self.target.partition(",")[0])
        return (path.stem if path.suffix and not path.is_dir() else path.name) or self.target or self.kind


def parse(text: str) -> Address:
    """One address."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS or os.path.exists(text):
        kind, rest = PATH, text
    if kind in NETWORK:
        return Address(kind, text)
    target, options = _cut(rest)
    return Address("webcam" if kind == PATH and is_webcam(target) else kind, target, options)


def shown(text: str) -> str:
    """An address without what may be secret: user, password and options of a camera of the network; others whole."""
    if text.partition("://")[0] not in NETWORK:
        return text
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_webcam(text: str) -> bool:
    """``0`` or ``/dev/video0``."""
    return (text.isascii() and text.isdigit() and len(text) < 4) or text.startswith("/dev/video")


def _cut(text: str) -> tuple[str, dict[str, str]]:
    """Target and options, which follow the last question mark; a "+" in them joins nothing."""
    target, mark, query = text.rpartition("?")
    if not mark or os.path.exists(text) or not OPTIONS.fullmatch(query):
        return text, {}
    pairs = (part.partition("=") for part in query.split("&") if part)
    return target, {key: unquote(value, errors="surrogateescape") for key, _, value in pairs}


def joined(text: str) -> list[Address]:
    """The addresses that ``text`` joins with ``+``; a folder with a plus in its name stays whole where it exists.

    ``rgbd:ROOT/a+b?o`` becomes rgbd:ROOT/a?o and rgbd:ROOT/b?o: a word without a kind that names no file continues
    the set before it. Raises DataError.
    """
    if text.partition(":")[0] in LIVE:
        return [parse(text)]
    found: list[Address] = []
    for word in _words(text):
        if not word:
            raise DataError(f"address {text!r}: an address before or after a + is missing, expected A+B")
        address, before = parse(word), found[-1] if found else None
        if before and before.kind in SETS and address.kind == PATH and not os.path.exists(address.target):
            root, slash, _ = before.target.rpartition("/")
            address = Address(before.kind, f"{root}{slash}{address.target}", address.options)
        found.append(address)
    for index in range(len(found) - 1, 0, -1):  # options after the last name of a set apply to all of its names
        one, other = found[index - 1], found[index]
        same = one.kind == other.kind and one.target.rpartition("/")[0] == other.target.rpartition("/")[0]
        if same and one.kind in SETS and not one.options:
            found[index - 1] = Address(one.kind, one.target, other.options)
    return found


def _words(text: str) -> list[str]:
    """``text`` split at its ``+`` signs, except those in names of existing files and folders and in options.

    Raises DataError.
    """
    words, start = text.split("+"), 0
    if len(words) > MOST_JOINED:
        raise DataError(f"address {text[:40]!r}…: joins {len(words)} parts, expected at most {MOST_JOINED}")
    found: list[str] = []
    while start < len(words):
        spans = ["+".join(words[start:end]) for end in range(len(words), start, -1)]
        real = (span for span in spans if os.path.exists(span) or os.path.exists(span.rpartition("?")[0]))
        found.append(next(real, words[start]))
        start += 1 + found[-1].count("+")
    return found
