"""Is this depth in metres? Wrong units are plausible numbers to a model, so the values are looked at once, and said."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# What the models know (Contract.depth_range): nearer and farther surfaces look alike to them.
NEAR_M, FAR_M = DEFAULT_RANGE = 0.3, 10.0
NEARLY_ALL = 0.8
# Where the unit was assumed, less is enough to ask.
MOST = 0.5
# Rooms, tables and streets reach farther than this; a map that does not is likely read with too large a divisor.
SHALLOW_M = 1.2
# Kinect and Xtion, with which TUM's folders were made, are specified up to here.
KINECT_FAR_M = 4.0
LEAST_VALUES = 50  # different ones, before their greatest common divisor means anything
# Units per metre in common use: millimetres, TUM, tenths of millimetres, KITTI, centimetres, quarters of a millimetre.
COMMON_UNITS = {
    1000: "millimetres",
    5000: "TUM",
    10000: "0.1 mm",
    256: "KITTI",
    100: "cm",
    4000: "0.25 mm",
    1: "metres",
}


def plausible(
    depth: NDArray[np.float32], near: float = NEAR_M, far: float = FAR_M, share: float = NEARLY_ALL
) -> str | None:
    """What is odd about depth in metres (H, W), float32, 0 = no measurement; None where nothing is.

    One clause without a name or advice: a ``share`` of the measured pixels outside ``near`` … ``far``.
    """
    measured = depth[::4][depth[::4] > 0]
    if not measured.size:
        return None
    outside = float(np.mean((measured < near) | (measured > far)))
    if outside < share:
        return None
    middle = float(np.median(measured))
    return f"{outside:.0%} of the measured pixels lie outside {near:g} … {far:g} m, their median is {middle:.3g} m"


def shallow(depth: NDArray[np.float32]) -> str | None:
    """As :func:`plausible`, for depth whose unit was assumed and not given: says when no surface is far away."""
    measured = depth[::4][depth[::4] > 0]
    if not measured.size or (farthest := float(np.percentile(measured, 95))) >= SHALLOW_M:
        return None
    return f"nothing is farther away than {farthest:.2g} m"


def beyond(depth: NDArray[np.float32], far: float | None) -> str | None:
    """As :func:`shallow`: says when half of what is measured lies farther away than the assumed sensor measures."""
    measured = depth[::4][depth[::4] > 0]
    if far is None or not measured.size or (middle := float(np.median(measured))) <= far:
        return None
    return f"half of it lies beyond {middle:.2g} m, farther than the sensors of that convention measure ({far:g} m)"


def finer_unit(stored: NDArray[np.integer]) -> int | None:
    """Units per metre that the step between an integer map's values speaks for, None where it speaks for none.

    Sensors tell whole millimetres; stored in units of 1/5000 or 1/10000 m these are multiples of 5 or 10. ``stored``:
    (H, W), 0 = no measurement.
    """
    values = np.unique(stored[::4])
    values = values[values > 0]
    if values.size < LEAST_VALUES:
        return None
    units = 1000 * int(np.gcd.reduce(values.astype(np.int64)))
    return units if units in COMMON_UNITS else None


def better_units(depth: NDArray[np.float32], units_per_metre: float) -> list[int]:
    """Units per metre in common use that would put the scene at 0.3 … 10 m, nearest to the present ones first.

    ``depth``: metres made with ``units_per_metre``.
    """
    measured = depth[::4][depth[::4] > 0]
    if not measured.size:
        return []
    raw = np.percentile(measured, (5, 50, 95)) * units_per_metre
    fitting = []
    for units in COMMON_UNITS:
        low, middle, high = raw / units
        if units != round(units_per_metre) and low >= NEAR_M and high <= FAR_M and high >= SHALLOW_M and middle >= 0.5:
            fitting.append(units)
    return sorted(fitting, key=lambda units: abs(np.log(units / units_per_metre)))


class DepthSource(Protocol):
    """The part of a camera used here. ``depth_scale``: metres per unit, None for float depth."""

    name: str
    depth_scale: float | None
    warnings: list[str]


class DepthWatch:
    """Looks at the first frames of a source until their depth is plausible or has been called odd, once.

    A source whose ``assumed_units`` (per metre) is set took the unit by convention and has a ``scale`` option; its
    ``sensor_far_m``, if any, is how far the sensors of that convention measure.
    """

    PATIENCE = 3

    def __init__(self, near: float = NEAR_M, far: float = FAR_M) -> None:
        self._near, self._far = near, far
        self._odd: list[str] = []
        self._reported = False
        self._plausible = 0

    def observe(self, depth: NDArray[np.float32], source: DepthSource) -> None:
        """``depth``: (H, W) metres of the next frame. Costs nothing once decided."""
        if self._reported or self._plausible >= 10 * self.PATIENCE or not depth.any():
            return
        assumed = getattr(source, "assumed_units", None)
        clause = plausible(depth, self._near, self._far, MOST if assumed else NEARLY_ALL)
        if clause is None and assumed:
            clause = shallow(depth) or beyond(depth, getattr(source, "sensor_far_m", None))
        if clause is None:
            self._odd, self._plausible = [], self._plausible + 1
            return
        self._odd.append(clause + self._advice(depth, source, assumed))
        if len(self._odd) >= self.PATIENCE:
            self._say(source)

    def end(self, source: DepthSource) -> None:
        """The source has ended: a short one is judged by what there was."""
        if self._odd and not self._plausible and not self._reported:
            self._say(source)

    def _say(self, source: DepthSource) -> None:
        self._reported = True
        source.warnings.append(f"{source.name}: {self._odd[0]}")

    @staticmethod
    def _advice(depth: NDArray[np.float32], source: DepthSource, assumed: float | None) -> str:
        if assumed is None:
            return "; is its unit right?"
        units = round(1 / source.depth_scale) if source.depth_scale else 1
        fitting = [f"?scale={other} ({COMMON_UNITS[other]})" for other in better_units(depth, units)]
        hint = f", {' or '.join(fitting)} would fit" if fitting else ""
        return f"; depth was read as {units} units a metre because nothing else was said{hint}"
