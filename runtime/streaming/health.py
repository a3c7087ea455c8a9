"""Notices frames that arrive but are of no use: the same picture over and over, depth without any measurement."""

from __future__ import annotations

import zlib

import numpy as np

from mutualformer.runtime.sources.frame import Frame

# A sensor never delivers two equal pictures: its noise differs. A second of equal ones means a stuck driver.
FROZEN_SECONDS = 1.0
FROZEN_FRAMES = 5  # and at least so many, for slow cameras
NO_DEPTH_SECONDS = 1.0


class Health:
    """Feed it every frame; :meth:`observe` returns what is wrong in words, or an empty string."""

    def __init__(self) -> None:
        self._print: int | None = None
        self._same_since = 0.0
        self._repeats = 0
        self._empty_since: float | None = None

    def observe(self, frame: Frame, now: float) -> str:
        """``now``: monotonic seconds at arrival. Looks at every eighth row only: 0.1 ms at 640×480."""
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
