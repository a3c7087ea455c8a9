"""Is near bright or dark? Frames vote, and a binomial test says whether the votes settle it.

Two witnesses that do not depend on one another: what is salient lies nearer than the rest (needs masks), and the
lower rows of a picture show nearer ground than the upper ones. Each frame has one vote per witness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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


def verdict(votes: list[int]) -> int:
    """+1: near is bright, -1: near is dark, 0: the votes, +1, -1 or 0 each, may as well be those of a fair coin."""
    lead = sum(votes)
    return 0 if abs(lead) <= Z * math.sqrt(sum(map(abs, votes))) else int(math.copysign(1, lead))


@dataclass
class Evidence:
    """The votes of frames by their masks and by their rows: +1 near is bright, -1 near is dark, 0 undecided."""

    masks: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(self, depth: NDArray[Any], mask: NDArray[np.uint8] | None, measured: NDArray[np.bool_]) -> None:
        """Count one frame; ``depth`` as stored, (H, W). ``measured``: its pixels that are no holes, at least one."""
        depth = np.where(measured, depth, np.median(depth[measured]))
        if mask is not None:
            self.masks.append(mask_vote(depth, mask))
        self.rows.append(row_vote(depth))

    @property
    def polarity(self) -> str:
        """ "near_bright", "near_dark", or "" when the votes do not settle it or the witnesses contradict each other."""
        verdicts = {verdict(self.masks), verdict(self.rows)} - {0}
        return {1: "near_bright", -1: "near_dark"}[verdicts.pop()] if len(verdicts) == 1 else ""

    def __str__(self) -> str:
        words = []
        for what, votes in (("masks", self.masks), ("rows", self.rows)):
            bright, dark = votes.count(1), votes.count(-1)
            if bright + dark:
                side = "bright" if bright >= dark else "dark"
                words.append(f"{max(bright, dark)} of {bright + dark} frames by {what} say near is {side}")
        return ", ".join(words) or "no frame decides it"
