"""What the depth maps and masks of a set look like as a whole, and what that says about how they must be read.

One map does not tell whether its unit is a millimetre or whether near is dark; a few dozen do. The survey looks at
frames spread over the set when it is opened (``data check`` looks at all), and what it remarks is said aloud: no unit,
polarity or hole is guessed in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.data.masks import BORDER_SHARE, Mask
from mutualformer.runtime.data.polarity import Evidence
from mutualformer.runtime.images.depth import DepthRule, hole_code, to_metres

FRAMES = 32  # looked at when a set is opened
LEAST_FRAMES = 3  # that show a code, before it means anything
# Metres between which indoor and street-side depth cameras measure: nearest 2 %, median, farthest 2 % of the pixels.
NEAREST_M, MEDIAN_M, FARTHEST_M = 0.25, (0.75, 6.0), 15.0
USUAL_UNITS = "5000 (TUM), 10000 (0.1 mm), 100 (cm), 256 (KITTI), 1 (m); SUN RGB-D: ?rotate=3"
TOP_SHARE, TOP_GAP = 0.001, 0.02  # of a frame's pixels at a code that is no measurement; how far it is above the rest
MOST, SOME = 0.8, 0.3  # of the frames that must agree; that must show a known code to read it as holes in all
ROTATED_SHARE = 0.9  # of a frame's values that are multiples of 8 where bits were rotated by 3
MUST, SHOULD = "fix", "look"


class Remark(NamedTuple):
    """``level``: "fix" = wrong as it is read, "look" = a person should judge."""

    level: str
    kind: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def implausible(near: float, median: float, far: float) -> str:
    """Why distances (2nd, 50th, 98th percentile, metres) are none that a depth camera measures; "" when they may be."""
    if MEDIAN_M[0] <= median <= MEDIAN_M[1] and near >= NEAREST_M and far <= FARTHEST_M:
        return ""
    return f"{near:.2g} … {far:.3g} m, half of it beyond {median:.2g} m"


@dataclass
class Survey:
    """Counts over frames. ``rule``: how depth would be read; ``told``: whether the user said so (unit, polarity)."""

    rule: DepthRule = field(default_factory=DepthRule)
    stated: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    evidence: Evidence = field(default_factory=Evidence)
    distances: list[tuple[float, float, float]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    tops: Counter[int] = field(default_factory=Counter)
    integers: int = 0
    eights: int = 0
    blank: int = 0
    borders: list[float] = field(default_factory=list)
    mask_values: Counter[str] = field(default_factory=Counter)

    def add(self, stored: NDArray[Any] | None, mask: Mask | None) -> None:
        """Look at one frame; ``stored``: its depth as in the file, (H, W)."""
        if mask is not None:
            self.borders.append(mask.border)
            self.mask_values[", ".join(map(str, mask.values)) if len(mask.values) < 3 else "grey"] += 1
        if stored is None:
            return
        self.kinds["float" if stored.dtype.kind == "f" else f"{8 * stored.dtype.itemsize} bit"] += 1
        measured = np.isfinite(stored) & (stored > 0)
        if stored.dtype == np.uint8:
            measured = np.ones(stored.shape, bool)
            if to_metres(stored).min() == 0:  # 0 apart from the rest
                measured = stored > 0
        elif stored.dtype.kind in "iu":
            self._count_codes(stored)
            code = hole_code(stored)
            measured &= stored != code if code is not None else True
            if measured.any():
                self.eights += int(np.mean(stored.astype(np.int64)[measured] % 8 == 0) >= ROTATED_SHARE)
        self.blank += not measured.any()
        if stored.dtype != np.uint8 and measured.any() and not self.rule.relative:
            metres = to_metres(stored, self.rule)
            metres = metres[metres > 0][:: max(1, stored.size // 20_000)]
            if metres.size:
                near, median, far = (float(value) for value in np.percentile(metres, (2, 50, 98)))
                self.distances.append((near, median, far))
        fits = mask is not None and mask.pixels.shape == stored.shape
        self.evidence.add(stored, mask.pixels if fits and mask is not None else None, measured)

    def _count_codes(self, stored: NDArray[Any]) -> None:
        self.integers += 1
        code = hole_code(stored)
        if code is not None:
            self.codes[code] += 1
            return
        top = int(stored.max())
        below = stored[stored < top]
        if below.size and np.count_nonzero(stored == top) >= max(4, TOP_SHARE * stored.size):
            if top - int(below.max()) > TOP_GAP * top:
                self.tops[top] += 1

    @property
    def hole(self) -> int | None:
        """No measurement: a known code that is a spike in many maps, or a largest value that most maps share, apart
        from everything they measured."""
        if self.codes:
            code, count = self.codes.most_common(1)[0]
            if count >= LEAST_FRAMES and count >= SOME * self.integers:
                return code
        if not self.tops:
            return None
        value, count = self.tops.most_common(1)[0]
        return value if count >= LEAST_FRAMES and count >= MOST * self.integers else None

    @property
    def polarity(self) -> str:
        """What the frames say, "" where they do not settle it."""
        return self.evidence.polarity

    @property
    def range_m(self) -> tuple[float, float, float] | None:
        """(2nd percentile, median, 98th percentile) of the typical frame in metres; None for maps without a unit."""
        if not self.distances:
            return None
        near, median, far = (float(np.median(column)) for column in zip(*self.distances, strict=True))
        return near, median, far

    def remarks(self) -> list[Remark]:
        """What does not fit the way in which the set would be read."""
        sentences = [*self._bits(), *self._units(), *self._polarity(), *self._holes()]
        upside_down = sum(border > BORDER_SHARE for border in self.borders)
        if upside_down >= 2 and upside_down >= MOST * len(self.borders):
            what = f"masks look upside down (the border of {upside_down} of {len(self.borders)} pictures is object)"
            sentences.append(Remark(SHOULD, "inverted", what, "if black is the object append ?masks=inverted"))
        return sentences

    def _bits(self) -> Iterable[Remark]:
        if len(self.kinds) > 1:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.kinds.items()))
            yield Remark(MUST, "bits", f"depth is {kinds}", "convert all to one kind")

    def _units(self) -> Iterable[Remark]:
        grows = self.polarity == "near_bright" and "16 bit" in self.kinds
        if self.range_m is None or grows or (self.rule.units_per_metre and self.stated):
            return
        odd = implausible(*self.range_m)
        if self.eights == self.integers > 0 and not self.rule.rotate:
            restored = "16-bit depth values are multiples of 8"
            yield Remark(SHOULD, "unit", restored, "as in SUN RGB-D, whose bits are rotated? then append ?rotate=3")
        elif odd:
            unit = "metres" if "float" in self.kinds else "millimetres"
            if self.rule.units_per_metre:
                unit = f"units of 1/{self.rule.units_per_metre:g} m"
            remedy = f"if their unit is another append ?scale=UNITS_PER_METRE: {USUAL_UNITS}"
            yield Remark(SHOULD, "unit", f"depth read as {unit} is {odd}", remedy)

    def _polarity(self) -> Iterable[Remark]:
        said, why = self.polarity, str(self.evidence)
        if self.stated or len(self.kinds) > 1:
            return
        if "16 bit" in self.kinds or "32 bit" in self.kinds:
            if said == "near_bright":
                what = f"16-bit depth grows towards the camera ({why})"
                yield Remark(MUST, "polarity", what, "it is read as distances; append ?polarity=near_bright")
        elif "8 bit" in self.kinds and not said:
            yield Remark(
                SHOULD,
                "polarity",
                f"near bright or dark is unsure ({why})",
                "look at some and append ?polarity=near_bright or near_dark to DATA",
            )
        elif "8 bit" in self.kinds and said == "near_dark":
            yield Remark(SHOULD, "polarity", f"near is dark ({why})", "append ?polarity=near_dark to DATA")

    def _holes(self) -> Iterable[Remark]:
        maps = sum(self.kinds.values())
        if self.blank > maps // 2:
            what = f"{self.blank} of {maps} depth maps hold no measurement"
            yield Remark(SHOULD, "blank", what, "is it the right folder?")
        if self.rule.relative or (self.polarity == "near_bright" and "16 bit" in self.kinds):
            return  # values without a unit have no top code
        codes = Counter(self.codes)
        if self.hole is not None and self.hole in self.tops:
            codes[self.hole] += self.tops[self.hole]
        for code, count in sorted(codes.items()):
            what = f"{code} stands for no measurement in {count} of {self.integers} depth maps"
            yield Remark(SHOULD, "hole", what, "read as holes; ?hole=0 if it is a distance")
