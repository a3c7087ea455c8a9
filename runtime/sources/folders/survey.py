"""Statistics over the depth maps and masks of a source, and the warnings they give rise to. No pixel ever changes.

One map does not tell whether its unit is a millimetre or whether near is dark; a few dozen do. The survey looks at
frames spread over a source when it is opened (``data check`` looks at all). Whatever does not fit the way in which
depth is read becomes one warning that names the option which would change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.depth import DepthRule, full_scale_code, is_relative, to_metres, unpacked
from mutualformer.runtime.sources.depth_range import better_scales
from mutualformer.runtime.sources.folders.polarity import Evidence
from mutualformer.runtime.sources.masks import BORDER_SHARE, SHADES_SHARE, Mask

FRAMES = 32  # looked at when a source is opened
# Metres between which indoor and street-side depth cameras measure: nearest 2 %, median, farthest 2 % of the pixels.
NEAREST_M, MEDIAN_M, FARTHEST_M = 0.25, (0.75, 6.0), 15.0
# A frame whose median depth is at least 3× that of the other frames, and implausible on its own, was stored in another
# unit: units in use differ by 3.9 (KITTI, mm) and more.
OTHER_UNIT = 3.0
# A value that means "no measurement" is a spike in the histogram: it fills this share of the pixels, and is that many
# times as frequent as any value within 5 % of it. A sensor's own quantisation makes many spikes side by side.
SPIKE_SHARE, SPIKE_FACTOR, SPIKE_REACH = 0.005, 4.0, 0.05
MOST = 0.8  # of the frames that must agree before a sentence is about all of them
LEAST_FRAMES = 3  # minimum number of frames before a habit is inferred for the whole set
# Sensors measure whole millimetres. The greatest common divisor of a map's integers therefore is the number of units in
# a millimetre: 4, 5 (TUM) and 10 are in use. SUN RGB-D rotates the bits left by 3, which makes multiples of 8 of all
# values but those beyond 8.19 m.
FINER_STEPS, ROTATED_STEP, ROTATED_SHARE = (4, 5, 10), 8, 0.9
LEAST_VALUES = 50  # different values that a map must hold before their greatest common divisor means anything
MUST, SHOULD = "fix", "look"
NO_UNIT = "append ?polarity=near_bright or ?polarity=near_dark for maps without a unit"


class Remark(NamedTuple):
    """``level``: "fix" = wrong as it is read, "look" = a person should judge. ``count``: how many files it is about."""

    level: str
    kind: str
    what: str
    remedy: str
    count: int = 1  # type: ignore[assignment]  # hides tuple.count

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


def named(names: Sequence[str]) -> str:
    """``0001.png and 3 more``."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0] or 'one'}{more}"


@dataclass
class Survey:
    """Counts over frames. ``rule``: how depth is read; ``stated``: whether the user named its unit or polarity."""

    rule: DepthRule = field(default_factory=DepthRule)
    stated: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    evidence: Evidence = field(default_factory=Evidence)
    distances: list[Distances] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    spikes: Counter[float] = field(default_factory=Counter)
    shares: dict[float, float] = field(default_factory=dict)
    scales: Counter[float] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
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
        metres = to_metres(stored, self.rule)
        measured = metres > 0
        self._add_codes(unpacked(stored, self.rule), measured)
        if not measured.any():
            self.blank += 1
            return
        if not is_relative(stored, self.rule):
            values = metres[measured][:: max(1, stored.size // 20_000)]
            near, median, far = (float(value) for value in np.percentile(values, (2, 50, 98)))
            self.distances.append(Distances(near, median, far, name))
            usual = 1.0 if stored.dtype.kind == "f" else 0.001
            self.scales.update(better_scales(metres, self.rule.depth_scale or usual))
        fits = mask is not None and mask.pixels.shape == stored.shape
        self.evidence.add(stored, mask.pixels if fits and mask is not None else None, measured)

    def _add_mask(self, mask: Mask, name: str) -> None:
        self.borders.append(mask.border)
        self.mask_values[", ".join(map(str, mask.values)) if len(mask.values) < 3 else "grey"] += 1
        if mask.shades >= SHADES_SHARE:
            self.shaded.append(name)
        if not mask.pixels.any():
            self.empty.append(name)

    def _add_codes(self, stored: NDArray[Any], measured: NDArray[np.bool_]) -> None:
        """Values that stand out of a map: codes of no measurement, steps of a finer unit."""
        if not is_relative(stored, self.rule) and (code := full_scale_code(stored)) is not None and not self.rule.none:
            self.codes[code] += 1
        found, counts = np.unique(stored[measured], return_counts=True)
        for at in {*np.argsort(counts)[-3:].tolist(), len(found) - 1} if found.size else ():  # commonest, largest
            if self._is_spike(stored, found, counts, at):
                value = float(found[at])
                self.spikes[value] += 1
                self.shares[value] = max(self.shares.get(value, 0.0), int(counts[at]) / stored.size)
        if stored.dtype.kind in "iu" and stored.dtype != np.uint8 and found.size >= LEAST_VALUES:
            rotated = counts[found % ROTATED_STEP == 0].sum() >= ROTATED_SHARE * counts.sum()
            self.steps[ROTATED_STEP if rotated else int(np.gcd.reduce(found.astype(np.int64)))] += 1

    @staticmethod
    def _is_spike(stored: NDArray[Any], found: NDArray[Any], counts: NDArray[np.intp], at: int) -> bool:
        """Whether the ``at``-th of the ``found`` values stands apart from all the others of a map."""
        value, count = float(found[at]), int(counts[at])
        if count < max(4, SPIKE_SHARE * stored.size):
            return False
        if stored.dtype == np.uint8:  # 0 is a hole anyway; between them values are shades
            return value == 255 and not ((found > 247) & (found < 255)).any()
        near = (np.abs(found.astype(np.float64) - value) <= SPIKE_REACH * abs(value)) & (found != found[at])
        if near.any():
            return count >= SPIKE_FACTOR * int(counts[near].max())
        return len(found) > 2  # apart from everything else: 9999, 1000.0, 1e10

    @property
    def maps(self) -> int:
        """Depth maps looked at."""
        return sum(self.kinds.values())

    @property
    def polarity(self) -> str:
        """What the frames show, "" where they do not settle it."""
        return self.evidence.polarity

    @property
    def range_m(self) -> Distances | None:
        """Depths of the typical frame in metres; None for maps without a unit."""
        if not self.distances:
            return None
        near, median, far = (float(np.median(column)) for column in list(zip(*self.distances, strict=True))[:3])
        return Distances(near, median, far)

    @property
    def grows(self) -> bool:
        """Whether depth of more than 8 bits is larger where it is nearer: disparities, inverse depth, 8-bit maps."""
        return self.polarity == "near_bright" and self.kinds["8 bit"] < self.maps

    @property
    def kind(self) -> str:
        """What maps of more than 8 bits are called in warnings."""
        return "depth of floats" if "float" in self.kinds else "16-bit depth"

    @property
    def unit(self) -> str:
        """The unit in which values are read."""
        if self.rule.depth_scale:
            return f"units of {self.rule.depth_scale:g} m"
        return "metres" if "float" in self.kinds else "millimetres"

    def remarks(self) -> list[Remark]:
        """What does not fit the way in which the source is read."""
        found = [*self._units(), *self._polarity(), *self._holes(), *self._masks()]
        if len(self.kinds) > 1:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.kinds.items()))
            found.append(Remark(MUST, "bits", f"depth is {kinds}", "convert all to one kind"))
        if self.turned:
            what = f"{named(self.turned)}: the EXIF orientation is not applied, all files are read as stored"
            remedy = "check that colour, depth and mask fit as stored, then drop the tag"
            found.append(Remark(SHOULD, "exif", what, remedy, len(self.turned)))
        return found

    def _masks(self) -> Iterable[Remark]:
        count = len(self.borders)
        upside_down = sum(border > BORDER_SHARE for border in self.borders)
        if upside_down and upside_down >= MOST * count:
            what = f"masks look inverted (the border of {upside_down} of {count} pictures is object)"
            yield Remark(SHOULD, "inverted", what, "if black is the object append ?masks=inverted")
        if self.shaded:
            what = f"{named(self.shaded)} (of {count}): the mask has areas between black and white"
            remedy = "cut at half of white; make the object 255 and the rest 0"
            yield Remark(SHOULD, "shades", what, remedy, len(self.shaded))
        if self.empty:
            what = f"{named(self.empty)} (of {count}): the mask is empty"
            remedy = "scores are not defined without an object; remove such frames"
            yield Remark(SHOULD, "empty", what, remedy, len(self.empty))

    def _units(self) -> Iterable[Remark]:
        distances = self.range_m
        if distances is None or self.grows or (self.rule.depth_scale and self.stated):
            return
        what, remedy = f"depth read as {self.unit} is {distances}", ""
        step, count = self.steps.most_common(1)[0] if self.steps else (0, 0)
        scale = 0.001 / step if step in FINER_STEPS else 0.0
        odd = [one for one in self.distances if one.implausible]
        others = [one.median for one in self.distances if not one.implausible]
        if step == ROTATED_STEP and count >= MOST * self.maps and not self.rule.rotate:
            what = "16-bit depth values are multiples of 8, as in SUN RGB-D, whose bits are rotated"
            remedy = "is rotate=3 meant?"
        elif scale and count == self.maps and abs(scale / (self.rule.depth_scale or 0.001) - 1) > 0.01:
            what = f"depth values are multiples of {step}"
            remedy = f"whole millimetres in a finer unit? is depth_scale={scale:g} meant?"
        elif distances.implausible:
            better = [f"{scale:g}" for scale, fits in self.scales.most_common(3) if fits >= len(self.distances) / 2]
            remedy = (f"is depth_scale={' or '.join(better)} meant? or " if better else "") + NO_UNIT
        elif min(len(odd), len(others)) >= 2:
            times = float(np.median([one.median for one in odd]) / np.median(others))
            if max(times, 1 / times) >= OTHER_UNIT:
                first = named([one.name for one in odd])
                what = f"{first}: depth read as {self.unit} is {odd[0]}, in most frames {distances}"
                remedy = "are all maps in one unit? give those that are not as a set of their own"
        if remedy:
            yield Remark(SHOULD, "unit", what, remedy)

    def _polarity(self) -> Iterable[Remark]:
        polarity, votes = self.polarity, [*self.evidence.masks, *self.evidence.rows]
        if self.stated or len(self.kinds) > 1:
            return
        if not self.kinds["8 bit"]:
            if polarity == "near_bright":
                what = f"{self.kind} grows towards the camera ({self.evidence})"
                yield Remark(MUST, "polarity", what, "it is read as distances; is polarity=near_bright meant?")
        elif polarity == "near_dark":
            yield Remark(SHOULD, "polarity", f"near is dark ({self.evidence})", "is polarity=near_dark meant?")
        elif not polarity and (sum(votes) < 0 or votes.count(-1) >= LEAST_FRAMES):  # the frames contradict the default
            what = f"near bright or dark is unsure ({self.evidence})"
            yield Remark(SHOULD, "polarity", what, "look at some and append ?polarity=near_bright or near_dark")

    def _holes(self) -> Iterable[Remark]:
        if self.blank > self.maps // 2:
            what = f"{self.blank} of {self.maps} depth maps hold no measurement"
            yield Remark(SHOULD, "blank", what, "is it the right folder?")
        for code, count in sorted(self.codes.items()):
            what = f"{code} is the largest value of {count} of {self.maps} depth maps, a sensor's full-scale code"
            yield Remark(SHOULD, "code", what, "read as holes; holes=none reads it as a distance")
        if self.grows or (self.rule.relative and not self.kinds["8 bit"]):
            return  # values without a unit have no code
        for value, count in self.spikes.most_common(2):
            if value not in self.rule.holes and count >= max(min(self.maps, LEAST_FRAMES), MOST * self.maps):
                what = f"{value:g} is the value of {self.shares[value]:.0%} of the pixels"
                yield Remark(SHOULD, "hole", what, f"it is read as a distance; is holes={value:g} meant?")
