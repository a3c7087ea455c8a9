"""Frames of files: colour, and depth, ground truth or near-infrared beside it. Every folder source is a list of these.

Only ``depth.py``, ``masks.py`` and ``pictures.py`` turn files into numbers: one file gives the
same frame whichever address leads to it. A lone photograph is turned upright by its EXIF tag; a picture with depth or a
mask is read as stored, as those beside it are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.depth import (
    POLARITIES,
    DepthOptions,
    DepthRule,
    aligned,
    is_relative,
    read_stored_depth,
    to_metres,
)
from mutualformer.runtime.sources.folders.declared import declared_scale
from mutualformer.runtime.sources.folders.survey import FRAMES, Survey
from mutualformer.runtime.sources.frame import DataError, Intrinsics, Item
from mutualformer.runtime.sources.masks import read_mask
from mutualformer.runtime.sources.pictures import orientation, read_picture
from mutualformer.runtime.sources.walk import Entry, spread_over

POLARITY_FRAMES = 64  # looked at where the polarity is to be decided
log = logging.getLogger("mutualformer")


@dataclasses.dataclass(frozen=True)
class ReadOptions(DepthOptions):
    """How files are read where they do not say it themselves; the options of every address of files.

    ``depth_bits``: low bits that hold depth. ``rotate``: bits by which 16-bit depth is rotated left. ``polarity``:
    near_bright or near_dark takes all maps as maps without a unit, auto decides from the frames. ``masks``: "inverted"
    where black is the object. ``split``: train or test, of a set that lists both. Raises DataError.
    """

    depth_bits: int = 0
    rotate: int = 0
    polarity: str = ""
    masks: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        known = {"polarity": (*POLARITIES, "auto"), "masks": ("inverted",), "split": ("train", "test")}
        for name, values in known.items():
            if getattr(self, name) not in ("", *values):
                raise DataError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(values)}")
        if self.polarity in POLARITIES and self.depth_scale:
            raise DataError("polarity= is for depth without a unit, depth_scale= for depth with one: give one of them")
        super().__post_init__()

    @property
    def rule(self) -> DepthRule:
        """The depth rule that these options state."""
        stated: dict[str, Any] = {"relative": True, "polarity": self.polarity} if self.polarity in POLARITIES else {}
        return dataclasses.replace(super().rule, bits=self.depth_bits, rotate=self.rotate, **stated)


class FileFrames:
    """The frames of ``entries``, in their order. ``name``: of the source, in messages. ``root``: where they lie.

    ``usual_scale``: metres per unit that the layout implies where nothing else says one (TUM: 0.0002). The survey of
    some frames says once what does not fit the way in which depth is read. Raises DataError.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        options: ReadOptions | None = None,
        *,
        name: str = "",
        root: Path | None = None,
        usual_scale: float | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> None:
        if not entries:
            raise DataError(f"{name or root}: names no picture, expected at least one")
        self.entries, self.options = list(entries), options or ReadOptions()
        self.root, self.intrinsics = root, intrinsics
        self.listed: Path | None = None  # the file that names the frames of a split
        self.label = name or str(root or self.entries[0].colour)
        self.has_depth = any(entry.depth is not None for entry in self.entries)
        self._noted: set[str] = set()
        # In this order: the survey judges distances, so it needs the unit; what it finds may then change the rule.
        self.rule = self._declared(usual_scale)
        self.survey = self._survey()
        self.rule = self._settled()

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        """The name of frame ``index``, without reading it."""
        return self.entries[index].name

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that frame ``index`` is read from."""
        return self.entries[index].files

    def only(self, indices: Sequence[int]) -> FileFrames:
        """The frames at ``indices``, read as these are."""
        # The survey is that of all frames: a part must be read exactly as the whole is, whatever its own frames show.
        part = object.__new__(FileFrames)
        part.__dict__.update(self.__dict__)
        part.entries = [self.entries[index] for index in indices]
        return part

    @property
    def depth_scale(self) -> float | None:
        """Metres per unit where all maps are integers with a unit, so that a recording keeps them exactly."""
        integers = bool(self.survey.kinds) and not {"float", "8 bit"} & set(self.survey.kinds)
        return (self.rule.depth_scale or 0.001) if integers and not self.rule.relative else None

    def covered(self, index: int) -> float | None:
        """Share of the picture that is object, None without ground truth; only the mask is opened."""
        mask = self.entries[index].mask
        return None if mask is None else read_mask(mask, self.options.masks == "inverted").covered

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self.entries):
            raise IndexError(index)
        entry = self.entries[index]
        # Turning the picture alone would part it from its depth map and mask, which carry no EXIF tag.
        alone = entry.depth is None and entry.mask is None
        seen = read_picture(entry.colour, upright=alone)
        shape = seen.rgb.shape[:2]
        depth, metric = np.zeros(shape, np.float32), True
        if entry.depth is not None:
            depth, metric = self._depth(entry, (shape[0], shape[1]))
        mask = None
        if entry.mask is not None:
            mask = read_mask(entry.mask, self.options.masks == "inverted").pixels
            if mask.shape != shape:
                raise DataError(f"{entry.mask}: is {mask.shape}, expected {shape} as in {entry.colour.name}")
        nir = read_picture(entry.nir).rgb if entry.nir is not None else None
        times = entry.time, entry.depth_time
        return Item(seen.rgb, depth, mask, entry.name, metric, seen.alpha, seen.icc, seen.original, nir, *times)

    def _depth(self, entry: Entry, shape: tuple[int, int]) -> tuple[NDArray[np.float32], bool]:
        assert entry.depth is not None
        stored = read_stored_depth(entry.depth)
        try:
            metres, note = aligned(to_metres(stored, self.rule), shape)
        except DataError as error:
            turn = orientation(entry.colour)  # 5 to 8 exchange height and width
            tag = f"; the picture carries EXIF orientation {turn}: turn its pixels and drop the tag"
            raise DataError(f"{entry.depth}: {error}{tag if turn >= 5 else ''}") from error
        if note and note not in self._noted:  # the same for every frame of a set: one warning is enough
            self._noted.add(note)
            log.warning("%s: %s", self.label, note)
        return metres, not is_relative(stored, self.rule)

    def _declared(self, usual: float | None) -> DepthRule:
        """The options' rule, with the unit that a text in the folder declares, or the layout implies."""
        rule = self.options.rule
        first = next((entry.depth for entry in self.entries if entry.depth is not None), None)
        if first is None or rule.depth_scale is not None or rule.relative:
            return rule
        # The first map shows how the values are stored; one that cannot be read is reported where its frame is read.
        # Floats are metres already, and eight bits have no unit.
        with contextlib.suppress(DataError):
            stored = read_stored_depth(first)
            if stored.dtype.kind in "iu" and stored.dtype.itemsize > 1:
                declared = declared_scale([*([self.root] if self.root else []), first.parent])
                scale, why = declared or (usual, "as is usual in such folders")
                if scale is not None:
                    log.info("%s: depth is read with depth_scale=%g, %s", self.label, scale, why)
                    return dataclasses.replace(rule, depth_scale=scale)
        return rule

    def _survey(self) -> Survey:
        """Frames spread over the source; one that cannot be read is reported when it is asked for."""
        survey = Survey(self.rule, bool(self.options.depth_scale) or self.options.polarity not in ("", "auto"))
        indices = [i for i, entry in enumerate(self.entries) if entry.depth is not None or entry.mask is not None]
        most = POLARITY_FRAMES if self.options.polarity == "auto" else FRAMES
        for entry in (self.entries[indices[at]] for at in spread_over(len(indices), most)):
            try:
                stored = read_stored_depth(entry.depth) if entry.depth is not None else None
                mask = read_mask(entry.mask, self.options.masks == "inverted") if entry.mask is not None else None
                survey.turned += turned(entry.files)
            except DataError:
                continue
            survey.add(stored, mask, entry.colour.name)
        return survey

    def _settled(self) -> DepthRule:
        """The rule by which depth is read; warns of what does not fit it."""
        rule, survey = self.rule, self.survey
        if self.options.polarity == "auto" and survey.grows:
            rule = dataclasses.replace(rule, relative=True)
            log.warning("%s: %s grows towards the camera, read as near_bright without a unit", self.label, survey.kind)
        elif self.options.polarity == "auto" and "8 bit" in survey.kinds:
            if not survey.polarity:
                raise DataError(
                    f"{self.label}: whether near is bright or dark cannot be decided ({survey.evidence}); "
                    "append ?polarity=near_bright or ?polarity=near_dark"
                )
            rule = dataclasses.replace(rule, polarity=survey.polarity)
            log.info("%s: %s (%s)", self.label, survey.polarity, survey.evidence)
        # What an option states is settled: a remark that asks the user for that option would only repeat itself.
        settled = {"polarity": self.options.polarity, "inverted": self.options.masks, "code": self.options.holes}
        remarks = [remark for remark in survey.remarks() if not settled.get(remark.kind)]
        for remark in remarks:
            log.warning("%s: %s", self.label, remark)
        known = survey.stated or survey.grows or rule.depth_scale is not None or rule.rotate or rule.bits
        if survey.range_m is not None and not known and not any(remark.kind == "unit" for remark in remarks):
            # Some wrong units make plausible rooms, so a person should see the distances.
            text = "%s: depth is read as %s: %s (?depth_scale= if not so)"
            log.info(text, self.label, survey.unit, survey.range_m)
        return rule


def turned(paths: Sequence[Path]) -> list[str]:
    """Those of ``paths`` whose tag asks for a turn; a file that cannot be read is reported where it is read."""
    names = []
    for path in paths:
        with contextlib.suppress(DataError):
            if orientation(path) != 1:
                names.append(str(path))
    return names
