"""A room of the training scenes, rendered from a seed, moving: metric depth with noise and holes, no camera needed.

Live by default (``fps`` frames per second; a late reader misses frames). ``fps=0`` makes it a recording: every frame in
order, as fast as they are read. Depth is whole millimetres, as a depth camera gives it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.frame import Frame, Intrinsics, metres
from mutualformer.runtime.sources.moving_room import MovingRoom

SCALE = 0.001
NEAR_MM = 1200.0  # closer than this an infrared lamp saturates


@dataclass(frozen=True)
class Options:
    """``frames``: number of frames, 0 = endless. ``holes``: share of pixels without depth. ``nir``: add that image."""

    seed: int = 0
    fps: float = 30.0
    frames: int = 0
    size: str = "640x480"
    holes: float = 0.03
    nir: bool = False


class SyntheticCamera(BaseCamera):
    """The room is rendered once; each frame turns the camera and takes one of a few noise fields."""

    def __init__(self, options: Options) -> None:
        height, width = opts.size(options.size, "synthetic://")
        self._room = MovingRoom(options.seed, (height, width))
        focal = self._room.focal
        lens = Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        name = f"synthetic://?seed={options.seed}"
        super().__init__(name, live=options.fps > 0, intrinsics=lens, depth_scale=SCALE)
        if not 0 <= options.holes < 1 or options.fps < 0 or options.frames < 0:
            raise CameraError(f"{name}: expected holes in [0, 1), fps ≥ 0 and frames ≥ 0")
        self._options, self._shape = options, (height, width)
        self._rng = np.random.default_rng(options.seed)
        self._noise = [self._sensor() for _ in range(4)]
        self._next = 0
        self._start: float | None = None

    def _sensor(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """One noise field in millimetres (1 σ = 4 mm) and one mask of holes, some of them in clusters."""
        noise = self._rng.normal(0, 4, self._shape).astype(np.float32)
        height, width = self._shape
        small = self._rng.random((max(1, height // 8), max(1, width // 8))).astype(np.float32)
        clusters = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return noise, clusters < np.quantile(clusters, self._options.holes)

    def frame_at(self, index: int) -> Frame:
        """Frame ``index`` of this seed, always the same."""
        # There and back in six seconds at thirty frames a second.
        rgb, metric, _ = self._room.view(float(np.sin(2 * np.pi * index / 180)))
        noise, holes = self._noise[index % len(self._noise)]
        depth = metric * np.float32(1000) + noise
        depth[holes] = 0
        stamp = index / (self._options.fps or 30.0)
        units = np.rint(depth).astype(np.uint16)
        nir = None
        if self._options.nir:
            # Bright close by, dark far away: an active illuminator's falloff.
            shade = np.clip(3.0e5 / np.maximum(depth, NEAR_MM), 0, 255).astype(np.uint8)
            nir = np.repeat(shade[..., None], 3, axis=2)
        return Frame(rgb, metres(units, SCALE), stamp, stamp, index, nir)

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As BaseCamera.read; frames of a live source that are not read in time are skipped, as with a real camera."""
        now = time.monotonic()
        if self._start is None:
            self._start = now
        if self.live:
            self._next = max(self._next, int((now - self._start) * self._options.fps))
        if self._options.frames and self._next >= self._options.frames:
            return None
        if self.live:
            self.sleep(self._start + self._next / self._options.fps - now, timeout)
        began = time.perf_counter()
        frame = self.frame_at(self._next)
        self._next += 1
        self.busy_s = time.perf_counter() - began
        return frame


def open_source(target: str, query: Mapping[str, Any]) -> SyntheticCamera:
    """``target`` is unused: everything is in the options."""
    if target:
        raise CameraError(f"synthetic://{target}: expected nothing before '?', for example synthetic://?seed=1")
    return SyntheticCamera(opts.parse(Options, query, "synthetic://"))
