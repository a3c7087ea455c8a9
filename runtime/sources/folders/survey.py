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

from mutualformer.runtime.sources.depth import (
    MILLIMETRES,
    SPIKE_FACTOR,
    SPIKE_SHARE,
    DepthRule,
    full_scale,
    hole_code,
    is_relative,
    is_spike,
    isolated,
    to_metres,
)
from mutualformer.runtime.sources.depth_range import FAR_M, NEAR_M, finer_unit
from mutualformer.runtime.sources.folders.polarity import Evidence
from mutualformer.runtime.sources.masks import BORDER_SHARE, SHADES_SHARE, Mask

FRAMES = 32  # looked at when a set is opened
# Metres between which indoor and street-side depth cameras measure: nearest 2 %, median, farthest 2 % of the pixels.
NEAREST_M, MEDIAN_M, FARTHEST_M = 0.25, (0.75, 6.0), 15.0
# Frames of one set whose middle is so many times as far as the others' and implausible by itself are of another unit:
# units in use differ by 3.9 (KITTI, mm) and more.
OTHER_UNIT = 3.0
USUAL_UNITS = "5000 (TUM), 10000 (0.1 mm), 100 (cm), 256 (KITTI), 1 (m); SUN RGB-D: ?rotate=3"
NO_UNIT = "without a unit append ?polarity=near_bright or ?polarity=near_dark"
# Values that people choose for "no measurement" in millimetres. A wall may lie at one of them in one picture, not in
# most pictures of a set.
ROUND_CODES = (*range(1000, 60001, 1000), 9999)
TOP_SHARE, TOP_GAP = 0.001, 0.02  # of a frame's pixels at a code that is no measurement; how far it is above the rest
GAP_STEPS = 9  # values below it whose distances tell how coarse the map is
MOST, SOME = 0.8, 0.3  # of the frames that must agree; that must show a known code to read it as holes in all
LEAST_FRAMES = 3  # frames that a rule for all is made of
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


class Distances(NamedTuple):
    """Metres of the 2nd, 50th and 98th percentile of one frame's measured pixels."""

    near: float
    median: float
    far: float
    name: str = ""

    def __str__(self) -> str:
        return f"{self.near:.2g} … {self.far:.3g} m, half of it beyond {self.median:.2g} m"

    @property
    def implausible(self) -> bool:
        """Whether a depth camera would hardly measure them."""
        return not (MEDIAN_M[0] <= self.median <= MEDIAN_M[1] and self.near >= NEAREST_M and self.far <= FARTHEST_M)


def named(names: list[str]) -> str:
    """``0001.png and 3 more``."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0] or 'one'}{more}"


@dataclass
class Survey:
    """Counts over frames. ``rule``: how depth would be read; ``stated``: whether the user said so (unit, polarity)."""

    rule: DepthRule = field(default_factory=DepthRule)
    stated: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    evidence: Evidence = field(default_factory=Evidence)
    distances: list[Distances] = field(default_factory=list)
    codes: Counter[float] = field(default_factory=Counter)
    tops: Counter[float] = field(default_factory=Counter)
    tops8: int = 0
    full: float = 0.0
    fractions: int = 0
    eights: int = 0
    steps: Counter[int | None] = field(default_factory=Counter)
    blank: int = 0
    borders: list[float] = field(default_factory=list)
    shaded: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    mask_values: Counter[str] = field(default_factory=Counter)

    def add(self, stored: NDArray[Any] | None, mask: Mask | None, name: str = "") -> None:
        """Look at one frame; ``stored``: its depth as in the file, (H, W); ``name``: of the frame, for remarks."""
        if mask is not None:
            self._add_mask(mask, name)
        if stored is None:
            return
        self.kinds["float" if stored.dtype.kind == "f" else f"{8 * stored.dtype.itemsize} bit"] += 1
        measured = np.isfinite(stored) & (stored > 0)
        fits = mask is not None and mask.pixels.shape == stored.shape
        inside = mask.pixels if fits and mask is not None else None
        if stored.dtype == np.uint8:
            measured = self._count_eight_bits(stored, inside)
        else:
            if stored.dtype.kind in "iu":
                self.full = max(self.full, full_scale(stored))
                self.steps[finer_unit(np.where(measured, stored, stored.dtype.type(0)))] += 1
            code = self._count_codes(stored, measured)
            measured &= stored != stored.dtype.type(code) if code is not None else True
            if stored.dtype.kind in "iu" and measured.any():
                self.eights += int(np.mean(stored.astype(np.int64)[measured] % 8 == 0) >= ROTATED_SHARE)
            elif measured.any():
                self.fractions += bool(0.5 < float(stored[measured].max()) <= 1.0)
        self.blank += not measured.any()
        if measured.any() and not is_relative(stored, self.rule):
            metres = to_metres(stored, self.rule)
            metres = metres[metres > 0][:: max(1, stored.size // 20_000)]
            if metres.size:
                near, median, far = (float(value) for value in np.percentile(metres, (2, 50, 98)))
                self.distances.append(Distances(near, median, far, name))
        self.evidence.add(stored, inside, measured)

    def _add_mask(self, mask: Mask, name: str) -> None:
        self.borders.append(mask.border)
        self.mask_values[", ".join(map(str, mask.values)) if len(mask.values) < 3 else "grey"] += 1
        if mask.shades >= SHADES_SHARE:
            self.shaded.append(name)
        if not mask.pixels.any():
            self.empty.append(name)

    def _count_eight_bits(self, stored: NDArray[np.uint8], inside: NDArray[np.uint8] | None) -> NDArray[np.bool_]:
        """Where an 8-bit map measures: 0 and 255 do not where they stand apart from the rest; 255 may be the object."""
        measured = np.ones(stored.shape, bool)
        if to_metres(stored).min() == 0:
            measured = stored > 0
        top = stored == 255
        if isolated(stored, 255) and (inside is None or 2 * np.count_nonzero(inside[top]) < np.count_nonzero(top)):
            self.tops8 += 1
            measured &= ~top
        return measured

    def _count_codes(self, stored: NDArray[Any], measured: NDArray[np.bool_]) -> float | None:
        """The value of this map that is no measurement by itself, None where only most maps together can tell."""
        floats = stored.dtype.kind == "f"
        code = hole_code(stored, self.rule.units_per_metre or (1.0 if floats else MILLIMETRES))
        if code is not None:
            self.codes[code] += 1
            return code
        values = stored[measured]
        top = values.max() if values.size else 0
        below = values[values < top]
        if below.size and np.count_nonzero(values == top) >= max(4, TOP_SHARE * stored.size):
            gap = float(top) - float(below.max())
            steps = np.diff(np.unique(below[:: max(1, below.size // 50_000)])[-GAP_STEPS:])
            if gap > TOP_GAP * float(top) and gap > SPIKE_FACTOR * float(np.median(steps) if steps.size else 0):
                self.tops[float(top) if floats else int(top)] += 1
                return None
        if not floats and stored.dtype.itemsize == 2:
            least = max(4, round(SPIKE_SHARE * stored.size))
            counts = np.bincount(stored.ravel(), minlength=max(ROUND_CODES) + 1)
            for likely in ROUND_CODES:
                if counts[likely] >= least and is_spike(stored, likely, least):
                    self.tops[likely] += 1
        return None

    @property
    def maps(self) -> int:
        """Depth maps looked at."""
        return sum(self.kinds.values())

    @property
    def hole(self) -> float | None:
        """No measurement: a known code that is a spike in many maps, or a value that most maps share, apart from
        everything they measured; 255 where that is so in 8-bit maps."""
        if self._white_holes:
            return 255
        wide = self.maps - self.kinds["8 bit"]
        if self.codes:
            code, count = self.codes.most_common(1)[0]
            if count >= LEAST_FRAMES and count >= SOME * wide:
                return code
        if not self.tops:
            return None
        value, count = self.tops.most_common(1)[0]
        return value if count >= LEAST_FRAMES and count >= MOST * wide else None

    @property
    def _white_holes(self) -> bool:
        """Whether 255 is no measurement: in one map it may as well be the part that is too near."""
        return self.tops8 >= LEAST_FRAMES and self.tops8 >= MOST * self.kinds["8 bit"]

    @property
    def polarity(self) -> str:
        """What the frames say, "" where they do not settle it."""
        return self.evidence.polarity

    @property
    def range_m(self) -> Distances | None:
        """Of the typical frame; None for maps without a unit."""
        if not self.distances:
            return None
        near, median, far = (float(np.median(column)) for column in list(zip(*self.distances, strict=True))[:3])
        return Distances(near, median, far)

    @property
    def grows(self) -> bool:
        """Whether depth of more than 8 bits is larger where it is nearer: disparities, inverse depth, 8-bit maps."""
        return self.polarity == "near_bright" and self.kinds["8 bit"] < self.maps

    @property
    def unit(self) -> str:
        """What a value is taken for."""
        if self.rule.units_per_metre:
            return f"units of 1/{self.rule.units_per_metre:g} m"
        return "metres" if "float" in self.kinds else "millimetres"

    @property
    def assumption(self) -> str:
        """By which unit distances are read where nobody said it and nothing speaks against it, "" where there are none:
        some wrong units make plausible rooms, so a person should see them."""
        known = self.stated or self.rule.rotate or self.rule.units_per_metre is not None
        if self.range_m is None or known or self.grows or any(one.kind == "unit" for one in self._units()):
            return ""
        return f"depth is read as {self.unit}: {self.range_m}"

    def remarks(self) -> list[Remark]:
        """What does not fit the way in which the set would be read."""
        return [*self._bits(), *self._units(), *self._polarity(), *self._holes(), *self._masks(), *self._turns()]

    def _masks(self) -> Iterable[Remark]:
        count = len(self.borders)
        upside_down = sum(border > BORDER_SHARE for border in self.borders)
        if upside_down and upside_down >= MOST * count:
            what = f"masks look upside down (the border of {upside_down} of {count} pictures is object)"
            yield Remark(SHOULD, "inverted", what, "if black is the object append ?masks=inverted")
        if self.shaded:
            what = f"{named(self.shaded)} (of {count}): the mask has areas between black and white"
            yield Remark(SHOULD, "shades", what, "cut at half of white; make the object 255 and the rest 0")
        if self.empty:
            what = f"{named(self.empty)} (of {count}): the mask is empty"
            yield Remark(SHOULD, "empty", what, "scores are not defined without an object; remove such frames")

    def _turns(self) -> Iterable[Remark]:
        if self.turned:
            what = f"{named(self.turned)}: EXIF asks for a turn, all files are read as stored"
            yield Remark(SHOULD, "exif", what, "see that colour, depth and mask fit as stored, then drop the tag")

    def _bits(self) -> Iterable[Remark]:
        if len(self.kinds) > 1:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.kinds.items()))
            yield Remark(MUST, "bits", f"depth is {kinds}", "convert all to one kind")

    def _units(self) -> Iterable[Remark]:
        distances = self.range_m
        if distances is None or self.grows:
            return
        if self.rule.units_per_metre and self.stated:
            if not NEAR_M <= distances.median <= FAR_M:
                what = f"depth read as {self.unit} is {distances}"
                yield Remark(SHOULD, "range", what, f"the models know {NEAR_M:g} … {FAR_M:g} m")
            return
        if self.eights == self.maps and not self.rule.rotate:
            restored = "16-bit depth values are multiples of 8"
            yield Remark(SHOULD, "unit", restored, "as in SUN RGB-D, whose bits are rotated? then append ?rotate=3")
        elif distances.implausible:
            remedy = f"if their unit is another append ?scale=UNITS_PER_METRE: {USUAL_UNITS}; {NO_UNIT}"
            yield Remark(SHOULD, "unit", f"depth read as {self.unit} is {distances}", remedy)
        elif self.kinds["float"] >= LEAST_FRAMES and self.fractions >= MOST * self.kinds["float"]:
            what = f"depth read as metres never exceeds 1 ({self.fractions} of {self.kinds['float']} maps)"
            yield Remark(SHOULD, "unit", what, f"normalised maps have no unit; {NO_UNIT}")
        elif (unit := self._stepped) is not None:
            what = f"depth values are multiples of {unit // 1000}"
            yield Remark(SHOULD, "unit", what, f"whole millimetres in units of 1/{unit} m? then append ?scale={unit}")
        else:
            yield from self._other_units(distances)

    @property
    def _stepped(self) -> int | None:
        """Units per metre in which the values of all maps are whole millimetres, where it is not the one in use."""
        unit, count = self.steps.most_common(1)[0] if self.steps else (None, 0)
        used = (1000, round(self.rule.units_per_metre or MILLIMETRES))
        return unit if count == self.maps and unit is not None and unit not in used else None

    def _other_units(self, usual: Distances) -> Iterable[Remark]:
        """Frames that are of another unit than the rest."""
        odd = [one for one in self.distances if one.implausible]
        fitting = [one.median for one in self.distances if not one.implausible]
        if len(odd) < 2 or len(fitting) < 2:
            return
        times = float(np.median([one.median for one in odd])) / float(np.median(fitting))
        if max(times, 1 / times) >= OTHER_UNIT:
            what = f"{named([one.name for one in odd])}: depth read as {self.unit} is {odd[0]}, in most frames {usual}"
            yield Remark(
                SHOULD, "unit", what, "are all maps in one unit? give those that are not as a DATA of their own"
            )

    def _polarity(self) -> Iterable[Remark]:
        polarity, why = self.polarity, str(self.evidence)
        if self.stated or len(self.kinds) > 1:
            return
        if self.maps and not self.kinds["8 bit"]:
            kind = "depth of floats" if "float" in self.kinds else "16-bit depth"
            remedy = "it is read as distances; append ?polarity=near_bright"
            if polarity == "near_bright":
                yield Remark(MUST, "polarity", f"{kind} grows towards the camera ({why})", remedy)
            elif not polarity and self._unanimous():
                yield Remark(SHOULD, "polarity", f"{kind} seems to grow towards the camera ({why})", f"if so {remedy}")
        elif self.kinds["8 bit"] and not polarity and self._doubtful:
            yield Remark(
                SHOULD,
                "polarity",
                f"near bright or dark is unsure ({why})",
                "look at some and append ?polarity=near_bright or near_dark to DATA",
            )
        elif self.kinds["8 bit"] and polarity == "near_dark":
            yield Remark(SHOULD, "polarity", f"near is dark ({why})", "append ?polarity=near_dark to DATA")

    @property
    def _doubtful(self) -> bool:
        """Whether the frames contradict near_bright, the default; a few that fit it, or show nothing, are no news."""
        bright, dark = self.evidence.votes
        return dark > bright or dark >= LEAST_FRAMES

    def _unanimous(self) -> bool:
        """Whether all of too few frames say, by both witnesses, that near is bright."""
        masks, rows = self.evidence.masks, self.evidence.rows
        return masks[0] > 0 and rows[0] > 0 and not masks[1] and not rows[1]

    def _holes(self) -> Iterable[Remark]:
        if self.blank > self.maps // 2:
            what = f"{self.blank} of {self.maps} depth maps hold no measurement"
            yield Remark(SHOULD, "blank", what, "is it the right folder?")
        if self._white_holes:
            what = f"255 stands for no measurement in {self.tops8} of {self.kinds['8 bit']} depth maps"
            yield Remark(SHOULD, "hole", what, "read as holes; ?hole=0 if it is a distance")
        elif self.tops8 and self.kinds["8 bit"] < LEAST_FRAMES:  # in many maps it would be all or none
            what = f"255 stands apart in {self.tops8} of {self.kinds['8 bit']} depth maps, too few to tell what it is"
            yield Remark(SHOULD, "white", what, "read as the nearest; ?hole=255 if it is no measurement")
        if self.rule.relative or self.grows:
            return  # values without a unit have no top code
        codes = Counter(self.codes)
        if self.hole is not None and self.hole in self.tops:
            codes[self.hole] += self.tops[self.hole]
        for code, count in sorted(codes.items()):
            what = f"{code:g} stands for no measurement in {count} of {self.maps - self.kinds['8 bit']} depth maps"
            yield Remark(SHOULD, "hole", what, "read as holes; ?hole=0 if it is a distance")
