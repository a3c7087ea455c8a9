"""TUM RGB-D folders: ``rgb.txt`` and ``depth.txt`` list ``timestamp path``; depth: 16-bit PNG, 5000 units per metre.

Colour and depth have their own timestamps and gaps. Each depth map is used at most once, by the colour image nearest
to it in time, within ``max_skew`` seconds: the benchmark's own association rule.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import BaseCamera, CameraError, Frame, Intrinsics, metres


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre. ``max_skew``: seconds. ``fx fy cx cy``: pixels, 0 = unknown."""

    scale: float = 5000.0
    max_skew: float = 0.02
    fx: float = 0.0
    fy: float = 0.0
    cx: float = 0.0
    cy: float = 0.0


def read_list(path: Path) -> list[tuple[float, str]]:
    """``timestamp path`` per line, ``#`` starts a comment; sorted by time. Raises CameraError naming the line."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.split("#", 1)[0].split(maxsplit=1)
        if not text:
            continue
        try:
            stamp = float(text[0])
        except ValueError:
            stamp = float("nan")
        if len(text) != 2 or not np.isfinite(stamp):
            raise CameraError(f"{path}, line {number}: expected 'timestamp path', found {line.strip()!r}")
        entries.append((stamp, text[1].strip()))
    return sorted(entries)


def associate(
    colour: list[tuple[float, str]], depth: list[tuple[float, str]], max_skew: float
) -> list[tuple[tuple[float, str], tuple[float, str]]]:
    """One-to-one pairs in time order, closest pairs first, none further apart than ``max_skew`` seconds."""
    stamps = np.array([stamp for stamp, _ in depth])
    candidates = []
    for i, (stamp, _) in enumerate(colour):
        low, high = np.searchsorted(stamps, (stamp - max_skew, stamp + max_skew), side="left")
        candidates += [
            (abs(stamps[j] - stamp), i, j)
            for j in range(low, min(high + 1, len(stamps)))
            if abs(stamps[j] - stamp) <= max_skew
        ]
    used_colour: set[int] = set()
    used_depth: set[int] = set()
    pairs = []
    for _, i, j in sorted(candidates):
        if i not in used_colour and j not in used_depth:
            used_colour.add(i)
            used_depth.add(j)
            pairs.append((i, j))
    return [(colour[i], depth[j]) for i, j in sorted(pairs)]


def load_colour(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Raises CameraError naming the file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CameraError(f"{path}: missing or not an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def load_depth(path: Path, scale: float | None) -> NDArray[np.float32]:
    """(H, W) float32 metres from an image of 16-bit units (``scale`` metres each) or float32 metres."""
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise CameraError(f"{path}: missing or not an image")
    if raw.ndim != 2 or raw.dtype not in (np.dtype(np.uint16), np.dtype(np.float32)):
        raise CameraError(f"{path}: {raw.dtype} {raw.shape}, expected one channel of 16-bit units or float32 metres")
    return metres(raw, scale)


class TumCamera(BaseCamera):
    """Reads one pair per call; a pair that cannot be read is left out and said in ``warnings``."""

    def __init__(self, folder: Path, options: Options) -> None:
        if not options.scale > 0:
            raise CameraError(f"tum:{folder}: scale is {options.scale:g}, expected depth units per metre")
        lists = [folder / "rgb.txt", folder / "depth.txt"]
        for path in lists:
            if not path.is_file():
                raise CameraError(f"tum:{folder}: {path.name} is missing, expected a TUM RGB-D folder")
        super().__init__(f"tum:{folder}", live=False, depth_scale=1.0 / options.scale)
        self._folder, self._options, self._next = folder, options, 0
        colour, depth = read_list(lists[0]), read_list(lists[1])
        self._pairs = associate(colour, depth, options.max_skew)
        if not self._pairs:
            raise CameraError(
                f"tum:{folder}: none of {len(colour)} colour and {len(depth)} depth images are within "
                f"{options.max_skew:g} s of each other; set ?max_skew=SECONDS"
            )
        self.unpaired = len(colour) - len(self._pairs)
        if self.unpaired:
            self.warn(f"tum:{folder}: {self.unpaired} of {len(colour)} colour images have no depth in time, left out")

    def read(self, timeout: float = 1.0) -> Frame | None:
        while self._next < len(self._pairs):
            (stamp, colour), (depth_stamp, depth) = self._pairs[self._next]
            self._next += 1
            began = time.perf_counter()
            try:
                rgb = load_colour(self._folder / colour)
                metric = load_depth(self._folder / depth, self.depth_scale)
                if rgb.shape[:2] != metric.shape:
                    raise CameraError(f"{colour} is {rgb.shape[:2]} and {depth} is {metric.shape}, expected one size")
            except CameraError as error:
                self.warn(f"frame left out: {error}")
                continue
            if self.intrinsics is None and self._options.fx > 0:
                o = self._options
                self.intrinsics = Intrinsics(rgb.shape[1], rgb.shape[0], o.fx, o.fy or o.fx, o.cx, o.cy)
            self.busy_s = time.perf_counter() - began
            return Frame(rgb, metric, stamp, depth_stamp, self._next - 1)
        return None


def open_source(target: str, given: Mapping[str, Any]) -> TumCamera:
    """``target``: the folder."""
    return TumCamera(Path(target), opts.parse(Options, given, f"tum:{target}"))
