"""A moving RGB-D scene from a seed: textured wall and floor, a ball in front of boxes, metric depth with holes.

Live by default (``fps`` frames per second, late readers miss frames); ``fps=0`` makes it a recording: every frame in
order, as fast as they are taken. Depth is whole millimetres, as a depth camera gives it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.cameras import options as opts
from mutualformer.runtime.cameras.base import BaseCamera, CameraError, CameraTimeout, Frame, Intrinsics, metres

SCALE = 0.001
WALL_MM, NEAR_MM = 4000.0, 1200.0


@dataclass(frozen=True)
class Options:
    """``frames``: stop after so many, 0 = never. ``holes``: fraction without depth. ``nir``: add an image."""

    seed: int = 0
    fps: float = 30.0
    frames: int = 0
    size: str = "640x480"
    holes: float = 0.03
    nir: bool = False


class SyntheticCamera(BaseCamera):
    """The scene is drawn once as layers; each frame moves the ball and samples one of a few noise fields."""

    def __init__(self, options: Options) -> None:
        height, width = opts.size(options.size, "synthetic://")
        focal = 0.9 * width
        lens = Intrinsics(width, height, focal, focal, width / 2, height / 2)
        name = f"synthetic://?seed={options.seed}"
        super().__init__(name, live=options.fps > 0, intrinsics=lens, depth_scale=SCALE)
        if not 0 <= options.holes < 1 or options.fps < 0 or options.frames < 0:
            raise CameraError(f"{name}: expected holes in [0, 1), fps ≥ 0 and frames ≥ 0")
        self._options, self._shape = options, (height, width)
        self._rng = np.random.default_rng(options.seed)
        self._rgb, self._depth = self._background()
        self._noise = [self._sensor() for _ in range(4)]
        self._phase = self._rng.uniform(0, 2 * np.pi, 2)
        self._colour = self._rng.integers(60, 256, 3).astype(np.float64)
        self._next = 0
        self._start: float | None = None

    def _background(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Wall and floor with low-frequency texture and four boxes: (H, W, 3) uint8, (H, W) float32 millimetres."""
        height, width = self._shape
        grey, tint = self._rng.uniform(70, 170, (8, 10, 1)), self._rng.uniform(-25, 25, (8, 10, 3))
        coarse = (grey + tint).astype(np.uint8)
        rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        depth = np.full(self._shape, WALL_MM, np.float32)
        horizon = int(0.6 * height)
        rows = np.arange(height - horizon, dtype=np.float32)[:, None]
        depth[horizon:] = WALL_MM - (WALL_MM - NEAR_MM) * rows / max(1, height - horizon)
        for _ in range(4):
            w, h = int(self._rng.uniform(0.08, 0.2) * width), int(self._rng.uniform(0.1, 0.3) * height)
            x, y = int(self._rng.integers(0, width - w)), int(self._rng.integers(0, height - h))
            rgb[y : y + h, x : x + w] = self._rng.integers(20, 230, 3)
            depth[y : y + h, x : x + w] = self._rng.uniform(2200, 3600)
        return np.asarray(rgb, np.uint8), depth

    def _sensor(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """One noise field in millimetres (1 σ = 4 mm) and one mask of holes, some of them in clusters."""
        noise = self._rng.normal(0, 4, self._shape).astype(np.float32)
        height, width = self._shape
        small = self._rng.random((max(1, height // 8), max(1, width // 8))).astype(np.float32)
        clusters = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return noise, clusters < np.quantile(clusters, self._options.holes)

    def frame_at(self, index: int) -> Frame:
        """Frame ``index`` of this seed, always the same."""
        height, width = self._shape
        rgb = self._rgb.copy()
        step = 0.05 * index
        centre = (
            int(width * (0.5 + 0.3 * np.sin(step + self._phase[0]))),
            int(height * (0.5 + 0.2 * np.sin(1.7 * step + self._phase[1]))),
        )
        radius, near = max(2, height // 6), 1500.0 + 400.0 * float(np.sin(0.6 * step))
        noise, holes = self._noise[index % len(self._noise)]
        depth = self._depth.copy()
        cv2.circle(depth, centre, radius, near, -1)
        cv2.circle(rgb, centre, radius, self._colour.tolist(), -1)
        cv2.circle(rgb, (centre[0] - radius // 3, centre[1] - radius // 3), radius // 4, (250, 250, 250), -1)
        depth += noise
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
        if self._options.frames and self._next >= self._options.frames:
            return None
        if self.live:
            now = time.monotonic()
            if self._start is None:
                self._start = now
            # Frames nobody waited for are gone, as with a real camera.
            self._next = max(self._next, int((now - self._start) * self._options.fps))
            if self._options.frames and self._next >= self._options.frames:
                return None
            wait = self._start + self._next / self._options.fps - now
            if wait > timeout:
                time.sleep(timeout)
                raise CameraTimeout(f"{self.name}: no frame within {timeout:g} s")
            if wait > 0:
                time.sleep(wait)
        began = time.perf_counter()
        frame = self.frame_at(self._next)
        self._next += 1
        self.busy_s = time.perf_counter() - began
        return frame


def open_source(target: str, given: Mapping[str, Any]) -> SyntheticCamera:
    """``target`` is unused: everything is in the options."""
    if target:
        raise CameraError(f"synthetic://{target}: expected nothing before '?', for example synthetic://?seed=1")
    return SyntheticCamera(opts.parse(Options, given, "synthetic://"))
