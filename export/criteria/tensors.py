"""Measures how far a candidate's outputs are from its reference's, and checks budgets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
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


def difference(pairs: Iterable[tuple[Array, Array]]) -> TensorDifference:
    """How far candidates are from their references, (reference, candidate) of one shape each, frame by frame.

    Frames with NaN or infinity count as values alone. Cosine is 1 where all values are zeros, 0 where one side's are.
    """
    worst, total, products, values, finite = 0.0, 0.0, np.zeros((3, 3)), 0, True
    for reference, candidate in pairs:
        r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
        values += r.size
        if not (np.isfinite(r).all() and np.isfinite(c).all()):
            finite = False
            continue
        apart = np.abs(r - c)
        worst, total = max(worst, float(apart.max(initial=0.0))), total + float(apart.sum())
        stacked = np.stack((r, c, apart))
        products += stacked @ stacked.T
    rr, cc, dd, rc = (float(products[at]) for at in ((0, 0), (1, 1), (2, 2), (0, 1)))
    return TensorDifference(
        max_abs=worst,
        mean_abs=total / max(values, 1),
        cosine=rc / math.sqrt(rr * cc) if rr and cc else float(rr == cc),
        snr_db=10 * math.log10(rr / dd) if dd and rr else None,
        finite=finite,
        values=values,
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
