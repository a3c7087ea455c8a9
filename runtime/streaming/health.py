"""Detects useless frames: the same picture again and again, depth without any measurement."""

from __future__ import annotations

import zlib

import numpy as np

from mutualformer.runtime.sources.frame import Frame

# Sensor noise makes any two pictures differ, so equal pictures for a second mean a stuck driver.
FROZEN_SECONDS = 1.0
FROZEN_FRAMES = 5  # equal frames needed as well, for slow cameras
NO_DEPTH_SECONDS = 1.0


class Health:
    """Watches every frame for faults."""

    def __init__(self) -> None:
        self._print: int | None = None
        self._same_since = 0.0
        self._repeats = 0
        self._empty_since: float | None = None

    def observe(self, frame: Frame, now: float) -> str:
        """What is wrong, or an empty string. ``now``: arrival in monotonic seconds. Reads every eighth row only."""
        fingerprint = zlib.crc32(np.ascontiguousarray(frame.rgb[::8]).data)
        if fingerprint != self._print:
            self._print, self._same_since, self._repeats = fingerprint, now, 0
        else:
            self._repeats += 1
        if frame.nir is None and not (frame.depth[::8].any() or frame.depth.any()):
            self._empty_since = now if self._empty_since is None else self._empty_since
        else:
            self._empty_since = None
        if self._repeats >= FROZEN_FRAMES and now - self._same_since >= FROZEN_SECONDS:
            return "frozen: the picture has not changed"
        if self._empty_since is not None and now - self._empty_since >= NO_DEPTH_SECONDS:
            return "no depth: every pixel is a hole"
        return ""
