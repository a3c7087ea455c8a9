"""Is near bright or dark? Frames vote, and a binomial test says whether the votes settle it.

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

Z = 2.58  # standard deviations of a fair coin: two-sided 99 %; 7 frames must agree where none contradicts
LEAST_ROWS, LEAST_CORRELATION = 8, 0.3  # of rows and their brightness; below them a frame abstains
LEAST_CONTRAST = 0.03  # of the depth map's own spread; below it a frame abstains


def mask_vote(depth: NDArray[np.generic], mask: NDArray[np.uint8]) -> int:
    """+1: the salient part is brighter than the rest, -1: darker, 0: undecided. (H, W) each, mask 0 or more."""
    inside = mask > MIDDLE
    if not inside.any() or inside.all():
        return 0
    values = depth.astype(np.float32)
    spread = float(np.ptp(np.percentile(values, (2, 98))))
    difference = float(np.median(values[inside]) - np.median(values[~inside]))
    return 0 if abs(difference) <= LEAST_CONTRAST * spread else int(np.sign(difference))


def row_vote(depth: NDArray[np.generic]) -> int:
    """+1: rows get brighter downwards, -1: darker, 0: undecided (|rank correlation| below LEAST_CORRELATION)."""
    rows = np.median(depth.astype(np.float32), axis=1)
    if len(rows) < LEAST_ROWS or np.ptp(rows) == 0:
        return 0
    ranks = np.argsort(np.argsort(rows, kind="stable"), kind="stable")
    correlation = float(np.corrcoef(np.arange(len(rows)), ranks)[0, 1])
    return 0 if abs(correlation) < LEAST_CORRELATION else int(np.sign(correlation))


def verdict(votes: tuple[int, int]) -> int:
    """+1: near is bright, -1: near is dark, 0: the (bright, dark) votes may as well be those of a fair coin."""
    lead = votes[0] - votes[1]
    return 0 if abs(lead) <= Z * math.sqrt(sum(votes)) else int(math.copysign(1, lead))


@dataclass
class Evidence:
    """Votes counted: (bright, dark) by masks and by rows."""

    masks: tuple[int, int] = (0, 0)
    rows: tuple[int, int] = (0, 0)

    def add(self, depth: NDArray[Any], mask: NDArray[np.uint8] | None, measured: NDArray[np.bool_]) -> None:
        """Count one frame; ``depth`` as stored, (H, W). ``measured``: its pixels that are no holes, at least one."""
        depth = np.where(measured, depth, np.median(depth[measured]))
        for name, vote in (("masks", mask_vote(depth, mask) if mask is not None else 0), ("rows", row_vote(depth))):
            bright, dark = getattr(self, name)
            setattr(self, name, (bright + (vote > 0), dark + (vote < 0)))

    @property
    def votes(self) -> tuple[int, int]:
        """(bright, dark) votes of both witnesses together."""
        return self.masks[0] + self.rows[0], self.masks[1] + self.rows[1]

    @property
    def polarity(self) -> str:
        """ "near_bright", "near_dark", or "" when the votes do not settle it or the witnesses contradict each other."""
        verdicts = {verdict(self.masks), verdict(self.rows)} - {0}
        return {1: "near_bright", -1: "near_dark"}[verdicts.pop()] if len(verdicts) == 1 else ""

    def __str__(self) -> str:
        words = [
            f"{max(votes)} of {sum(votes)} frames by {what} say near is {'bright' if votes[0] >= votes[1] else 'dark'}"
            for what, votes in (("masks", self.masks), ("rows", self.rows))
            if sum(votes)
        ]
        return ", ".join(words) or "no frame decides it"
