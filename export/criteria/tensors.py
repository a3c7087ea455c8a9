"""Measures how far a candidate's outputs are from its reference's, and checks budgets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.tasks import Budget

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorDifference:
    """Over all values of all frames: ``max_abs``, ``mean_abs``; ``cosine`` of the two seen as one long vector;
    ``snr_db`` = 10 log10(Σ r² / Σ (r − c)²), None when they are equal. ``finite``: no NaN or infinity in either."""

    max_abs: float
    mean_abs: float
    cosine: float
    snr_db: float | None
    finite: bool
    values: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, plain JSON types."""
        return asdict(self)


class TensorComparison:
    """Accumulates a TensorDifference frame by frame, in constant memory."""

    def __init__(self) -> None:
        self._max = self._sum = self._rr = self._cc = self._rc = self._dd = 0.0
        self._count, self._finite = 0, True

    def add(self, reference: Array, candidate: Array) -> float:
        """Add a frame; returns its max_abs, infinity if a value is not finite. Raises ValueError on other shapes."""
        if reference.shape != candidate.shape:
            raise ValueError(f"reference output is {reference.shape}, candidate output {candidate.shape}")
        r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
        if not (np.isfinite(r).all() and np.isfinite(c).all()):
            self._finite = False
            self._count += r.size
            return math.inf
        difference = np.abs(r - c)
        worst = float(difference.max(initial=0.0))
        self._max = max(self._max, worst)
        self._sum += float(difference.sum())
        self._rr += float(r @ r)
        self._cc += float(c @ c)
        self._rc += float(r @ c)
        self._dd += float(difference @ difference)
        self._count += r.size
        return worst

    def result(self) -> TensorDifference:
        """The difference over all frames so far; cosine is 1 where both are all zeros, 0 where one is."""
        norms = math.sqrt(self._rr * self._cc)
        return TensorDifference(
            max_abs=self._max,
            mean_abs=self._sum / max(self._count, 1),
            cosine=self._rc / norms if norms else float(self._rr == self._cc),
            snr_db=10 * math.log10(self._rr / self._dd) if self._dd and self._rr else None,
            finite=self._finite,
            values=self._count,
        )


def violations(budget: Budget, tensor: TensorDifference, deltas: dict[str, float]) -> list[str]:
    """One sentence per bound of ``budget`` that is exceeded; empty = parity holds.

    ``deltas``: absolute change per task metric, keys as in :class:`Budget` (``mae``, ``s_measure``, ``map_points``).
    """
    problems = [] if tensor.finite else ["an output holds NaN or infinity"]
    if budget.max_abs is not None and not tensor.max_abs <= budget.max_abs:
        problems.append(f"max abs difference {tensor.max_abs:.2e} > {budget.max_abs:.0e}")
    if budget.mean_abs is not None and not tensor.mean_abs <= budget.mean_abs:
        problems.append(f"mean abs difference {tensor.mean_abs:.2e} > {budget.mean_abs}")
    if budget.cosine is not None and not tensor.cosine >= budget.cosine:
        problems.append(f"cosine {tensor.cosine:.5f} < {budget.cosine}")
    for name, delta in deltas.items():
        limit = getattr(budget, name, None)
        if limit is not None and not delta <= limit:
            problems.append(f"Δ{name} {delta:.5f} > {limit}")
    return problems
