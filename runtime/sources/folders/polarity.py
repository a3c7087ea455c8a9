"""Is near bright or dark? Decided from what frames show, with how sure that is.

Two witnesses that do not depend on one another: what is salient lies nearer than the rest (needs masks), and the
lower rows of a picture show nearer ground than the upper ones. Each frame has one vote per witness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.masks import MIDDLE

Z = 2.58  # two-sided 99 %
FRAMES = 64  # that "auto" looks at
LEAST_ROWS, LEAST_CORRELATION = 8, 0.3  # of rows and their brightness; below them a frame abstains
LEAST_CONTRAST = 0.03  # of the depth map's own spread; below it a frame abstains


def mask_vote(depth: NDArray[np.generic], mask: NDArray[np.uint8]) -> int:
    """+1: the salient part is brighter than the rest, -1: darker, 0: no telling. (H, W) each, mask 0 or more."""
    inside = mask > MIDDLE
    if not inside.any() or inside.all():
        return 0
    values = depth.astype(np.float32)
    spread = float(np.ptp(np.percentile(values, (2, 98))))
    difference = float(np.median(values[inside]) - np.median(values[~inside]))
    return 0 if abs(difference) <= LEAST_CONTRAST * spread else int(np.sign(difference))


def row_vote(depth: NDArray[np.generic]) -> int:
    """+1: rows get brighter downwards, -1: darker, 0: no telling (|rank correlation| below LEAST_CORRELATION)."""
    rows = np.median(depth.astype(np.float32), axis=1)
    if len(rows) < LEAST_ROWS or np.ptp(rows) == 0:
        return 0
    ranks = np.argsort(np.argsort(rows, kind="stable"), kind="stable")
    correlation = float(np.corrcoef(np.arange(len(rows)), ranks)[0, 1])
    return 0 if abs(correlation) < LEAST_CORRELATION else int(np.sign(correlation))


def lower_bound(wins: int, total: int) -> float:
    """Lower end of Wilson's interval for a share."""
    if not total:
        return 0.0
    share = wins / total
    centre = share + Z * Z / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    return (centre - half) / (1 + Z * Z / total)


@dataclass
class Evidence:
    """Votes counted: (bright, dark) by masks and by rows."""

    masks: tuple[int, int] = (0, 0)
    rows: tuple[int, int] = (0, 0)

    def add(
        self,
        depth: NDArray[Any],
        mask: NDArray[np.uint8] | None,
        measured: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one frame; ``depth`` as stored, (H, W). ``measured``: where it tells anything; 16 bit: where > 0."""
        if measured is None and depth.dtype == np.uint16:
            measured = depth > 0
        if measured is not None and not measured.all():
            if not measured.any():
                return
            depth = np.where(measured, depth, np.median(depth[measured]))
        for name, vote in (("masks", mask_vote(depth, mask) if mask is not None else 0), ("rows", row_vote(depth))):
            bright, dark = getattr(self, name)
            setattr(self, name, (bright + (vote > 0), dark + (vote < 0)))

    @property
    def votes(self) -> tuple[int, int]:
        """(bright, dark) votes of both witnesses together."""
        return self.masks[0] + self.rows[0], self.masks[1] + self.rows[1]

    def _says(self, votes: tuple[int, int]) -> int:
        if lower_bound(max(votes), sum(votes)) <= 0.5:
            return 0
        return 1 if votes[0] > votes[1] else -1

    @property
    def polarity(self) -> str:
        """ "near_bright", "near_dark", or "" when the votes do not settle it or the witnesses contradict each other."""
        verdicts = {self._says(self.masks), self._says(self.rows)} - {0}
        return {1: "near_bright", -1: "near_dark"}[verdicts.pop()] if len(verdicts) == 1 else ""

    def __str__(self) -> str:
        words = [
            f"{max(votes)} of {sum(votes)} frames by {what} say near is {'bright' if votes[0] >= votes[1] else 'dark'}"
            for what, votes in (("masks", self.masks), ("rows", self.rows))
            if sum(votes)
        ]
        return ", ".join(words) or "no frame tells"
