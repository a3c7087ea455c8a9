"""How far a candidate may be from its reference: the one table of tolerances (DESIGN: parity, defined once)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Upper bounds; None = not bounded.

    ``max_abs``: largest absolute difference of any output value; ``mean_abs``: mean absolute difference of all of
    them, which catches two maps that score alike and look different. ``cosine``: lower bound on the cosine between the
    two models' features around their mean; a relative error of ε lowers it by ε²/2. ``mae``, ``s_measure``: absolute
    change of the SOD metrics (0…1). ``map_points``: absolute change of ReID mAP in points (0…100). Frames without
    ground truth take the reference's own map, binarised at 0.5, as ground truth.
    """

    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    mae: float | None = None
    s_measure: float | None = None
    map_points: float | None = None

    def as_dict(self) -> dict[str, float]:
        """The bounds there are."""
        return {key: value for key, value in vars(self).items() if value is not None}


# A saliency map fills [0, 1], so an absolute mean says enough. A feature of 3C values and unit length has values near
# 1/√(3C), and only the angle between two of them counts: mean_abs would pass anything.
BUDGETS: dict[str, dict[str, Budget]] = {
    "sod": {
        "fp32": Budget(max_abs=1e-4),
        "fp16": Budget(mean_abs=0.002, mae=0.001, s_measure=0.001),
        "int8": Budget(mean_abs=0.02, mae=0.005, s_measure=0.01),
    },
    "reid": {
        "fp32": Budget(max_abs=1e-4),
        "fp16": Budget(cosine=0.9999, map_points=0.5),
        "int8": Budget(cosine=0.99, map_points=0.5),
    },
}
