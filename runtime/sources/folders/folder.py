"""Saliency folders as the public sets ship them: ``RGB/ depth/ GT/`` in any of the usual spellings.

``depth/`` or ``GT/`` may be missing: RGB sets such as DUTS and ECSSD have no depth (``DUTS-TR-Image/ DUTS-TR-Mask/``),
frames of a sensor no ground truth. A text file ``train.txt`` or ``test.txt`` (``.lst`` too) beside them names the
frames of that split, one a line.

How files become numbers is said in ``runtime/sources/depth.py`` and ``masks.py``;
every file is read as stored, EXIF turns included. What a set's files say about their own unit, polarity and holes is
compared with how they are read when the set is opened, and said in one line each where it does not fit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.depth import DepthRule, is_relative, read_stored_depth, to_metres
from mutualformer.runtime.sources.folders.declared import declared_units
from mutualformer.runtime.sources.folders.item import DataError, Item, reading
from mutualformer.runtime.sources.folders.names import (
    DEPTH_NAMES,
    MASK_NAMES,
    RGB_NAMES,
    find_folder,
    find_list,
    frames_in,
    one_file_a_frame,
    read_list,
)
from mutualformer.runtime.sources.folders.polarity import FRAMES as POLARITY_FRAMES
from mutualformer.runtime.sources.folders.polarity import spread_over
from mutualformer.runtime.sources.folders.survey import FRAMES, Survey
from mutualformer.runtime.sources.masks import read_mask
from mutualformer.runtime.sources.pictures import (
    DEPTH_SUFFIXES,
    ImageError,
    natural_key,
    orientation,
    read_colour,
    turned,
)

POLARITIES = ("near_bright", "near_dark", "auto")
TEXT_SUFFIXES = (".txt", ".csv", ".md", ".json", ".xml", ".lst", ".html", "")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """How a folder is read where its files do not say it.

    ``polarity``: of depth without a unit, near_bright where "" (8-bit maps are near_bright unless they say otherwise);
    given as near_bright or near_dark, all maps are taken as maps without a unit (8-bit maps stored with more bits,
    disparities, normalised distances); auto decides from the frames.
    ``scale``: depth units per metre, None = millimetres, floats metres. ``hole``: the value besides 0 that stands for
    no measurement, None = found, 0 = none. ``rotate``: bits by which 16-bit depth is rotated left (SUN RGB-D: 3).
    ``masks``: "inverted" where black is the object.
    """

    polarity: str = ""
    scale: float | None = None
    hole: int | None = None
    rotate: int = 0
    masks: str = ""

    def __post_init__(self) -> None:
        if self.polarity not in ("", *POLARITIES):
            raise DataError(f"polarity is {self.polarity!r}, expected one of {', '.join(POLARITIES)}")
        if self.masks not in ("", "inverted"):
            raise DataError(f"masks is {self.masks!r}, expected inverted")
        if self.polarity and self.polarity != "auto" and self.scale is not None:
            raise DataError("polarity= is for depth without a unit and scale= for depth with one: give one of them")

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> FolderOptions:
        """Options of DATA as text. Raises DataError."""
        values: dict[str, object] = dict(query)
        for key, kind in (("scale", float), ("hole", int), ("rotate", int)):
            if key in query:
                try:
                    values[key] = kind(query[key])
                except ValueError:
                    noun = "a number" if kind is float else "a whole number"
                    raise DataError(f"{key} is {query[key]!r}, expected {noun}") from None
        scale, rotate = values.get("scale"), values.get("rotate", 0)
        if isinstance(scale, float) and not 1 <= scale <= 1e6:
            raise DataError(
                f"scale is {scale:g}, expected depth units per metre, not metres per unit: 1000 (mm), 5000 (TUM)"
            )
        if isinstance(rotate, int) and not 0 <= rotate <= 15:
            raise DataError(f"rotate is {rotate}, expected 0 … 15 bits")
        return cls(**values)  # type: ignore[arg-type]

    @property
    def rule(self) -> DepthRule:
        """How a depth map of this folder becomes metres."""
        polarity = "near_dark" if self.polarity == "near_dark" else "near_bright"
        return DepthRule(self.scale, polarity, self.polarity in ("near_bright", "near_dark"), self.hole, self.rotate)


OPTION_NAMES = frozenset(field.name for field in dataclasses.fields(FolderOptions))


class RgbdFolder:
    """The frames of ``root`` in natural order of their names; ``mask`` is None where there is no GT folder.

    ``polarity``: short for ``options`` with it. ``split``: take only the frames that the list of that split names,
    where there is one; ``listed`` is its path. Raises DataError.
    """

    def __init__(
        self,
        root: str | Path,
        polarity: str = "",
        split: str | None = None,
        options: FolderOptions | None = None,
    ) -> None:
        self.root = Path(root)
        self.options = options or FolderOptions(polarity)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder, expected one with RGB/, depth/ and GT/ in it")
        rgb, depth, mask = (find_folder(self.root, names) for names in (RGB_NAMES, DEPTH_NAMES, MASK_NAMES))
        if rgb is None or (depth is None and mask is None):
            there = ", ".join(sorted(p.name for p in self.root.iterdir())[:8]) or "nothing"
            raise DataError(f"{self.root}: holds {there}, expected folders RGB/ and depth/ or GT/ (or both)")
        self.left_out: list[str] = []
        self.rgb = self._files(rgb)
        self.depth = self._files(depth, DEPTH_SUFFIXES) if depth is not None else None
        self.masks = self._files(mask) if mask is not None else None
        self.names = sorted(self.rgb, key=natural_key)
        if not self.names:
            raise DataError(f"{rgb}: holds no image, expected .jpg, .png, .webp, .tif, .bmp or .ppm files")
        self.listed = find_list(self.root, split) if split else None
        if self.listed is not None:
            self.names = read_list(self.listed, self.rgb)
        self._all_there()
        self.rule = self._declared()
        self.survey = self._survey()
        self.rule = self._settled()

    @property
    def has_depth(self) -> bool:
        """Whether there is a folder of depth maps."""
        return self.depth is not None

    @property
    def polarity(self) -> str:
        """How depth without a unit is read: near_bright or near_dark."""
        return self.rule.polarity

    def _files(self, folder: Path, suffixes: tuple[str, ...] = ()) -> dict[str, Path]:
        listing = frames_in(folder, suffixes) if suffixes else frames_in(folder)
        kinds = Counter(path.suffix.lower() for path in listing.other)
        for suffix, count in kinds.items():
            if suffix not in TEXT_SUFFIXES:
                self.left_out.append(f"{folder}: {count} {suffix} files are left out, that kind is not read")
        return one_file_a_frame(listing)

    def _all_there(self) -> None:
        """Every frame has all that the set has; files without a colour picture are left out and said."""
        for kind, there in (("depth", self.depth), ("ground truth", self.masks)):
            if there is None:
                continue
            missing = [name for name in self.names if name not in there]
            if missing:
                raise DataError(
                    f"{self.rgb[missing[0]]}: has no {kind} ({len(missing)} of {len(self.names)} lack it), "
                    "expected a file of the same name"
                )
            alone = [path for name, path in there.items() if name not in self.rgb]
            if alone:
                more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
                self.left_out.append(f"{alone[0]}{more}: left out, there is no colour picture of that name")
        for sentence in self.left_out:
            logging.getLogger("mutualformer").warning("%s", sentence)

    def _declared(self) -> DepthRule:
        """The options' rule, with the unit that a text in the folder declares where the user says nothing of it."""
        rule = self.options.rule
        if self.depth is None or self.options.scale is not None or rule.relative:
            return rule
        first = next(iter(self.depth.values()))
        declared = declared_units([self.root, first.parent])
        with contextlib.suppress(ImageError):
            if declared is not None and read_stored_depth(first).dtype in (np.uint16, np.int32, np.uint32):
                logging.getLogger("mutualformer").info("%s: depth is read as %s", self.root, declared)
                return dataclasses.replace(rule, units_per_metre=declared.units_per_metre)
        return rule

    def _survey(self) -> Survey:
        """Frames spread over the set; one that cannot be read is left to whoever asks for it."""
        stated = self.options.polarity not in ("", "auto") or self.options.scale is not None
        survey = Survey(self.rule, stated)
        most = POLARITY_FRAMES if self.options.polarity == "auto" else FRAMES
        for index in spread_over(len(self.names), most):
            name = self.names[index]
            try:
                stored = self._stored(name) if self.depth is not None else None
                mask = read_mask(self.masks[name]) if self.masks is not None else None
            except DataError:
                continue
            survey.add(stored, mask, self.rgb[name].name)
            survey.turned += turned(self.files(index))
        return survey

    def _settled(self) -> DepthRule:
        """The rule by which depth is read; what does not fit it is said."""
        rule, survey, log = self.rule, self.survey, logging.getLogger("mutualformer")
        if rule.hole is None and survey.hole is not None:
            rule = dataclasses.replace(rule, hole=survey.hole)
        unsettled = "8 bit" in survey.kinds
        if self.options.polarity == "auto" and self.depth is not None:
            if survey.grows:
                rule = dataclasses.replace(rule, relative=True)
                kind = "depth of floats" if "float" in survey.kinds else "16-bit depth"
                log.warning("%s: %s grows towards the camera, read as near_bright without a unit", self.root, kind)
            elif survey.polarity and unsettled:
                rule = dataclasses.replace(rule, polarity=survey.polarity)
                log.info("%s: %s (%s)", self.root, survey.polarity, survey.evidence)
            elif unsettled:
                raise DataError(
                    f"{self.root}: whether near is bright or dark cannot be told ({survey.evidence}); "
                    "append ?polarity=near_bright or ?polarity=near_dark"
                )
        if rule.relative and survey.full:
            rule = dataclasses.replace(rule, full=survey.full)
        said = self.options
        hole = said.hole is not None
        settled = {"polarity": said.polarity, "inverted": said.masks, "hole": hole, "white": hole}
        remarks = [remark for remark in survey.remarks() if not settled.get(remark.kind)]
        for remark in remarks:
            log.warning("%s: %s", self.root, remark)
        if survey.assumption:
            log.info("%s: %s (?scale= if not so)", self.root, survey.assumption)
        return rule

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The frame's name as its colour picture has it; nothing is read."""
        return self.rgb[self.names[index]].stem

    def files(self, index: int) -> tuple[Path, ...]:
        """Colour, and depth and mask where there are any."""
        name = self.names[index]
        return tuple(there[name] for there in (self.rgb, self.depth, self.masks) if there is not None)

    def covered(self, index: int) -> float | None:
        """Share of the picture that is object, None without ground truth; only the mask is opened."""
        if self.masks is None:
            return None
        return read_mask(self.masks[self.names[index]], self.options.masks == "inverted").covered

    def _stored(self, name: str) -> NDArray[Any]:
        assert self.depth is not None
        stored = reading(read_stored_depth, self.depth[name])
        if stored.dtype == np.uint8 and self.options.scale is not None:
            stored = stored.astype(np.uint16)  # the user says that these bytes have a unit
        return stored

    def _read_depth(self, name: str) -> tuple[NDArray[np.float32], bool]:
        stored = self._stored(name)
        return to_metres(stored, self.rule), not is_relative(stored, self.rule)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        name = self.names[index]
        rgb = reading(read_colour, self.rgb[name])
        depth, metric = np.zeros(rgb.shape[:2], np.float32), True
        if self.depth is not None:
            depth, metric = self._read_depth(name)
        mask = read_mask(self.masks[name], self.options.masks == "inverted").pixels if self.masks is not None else None
        for path, other in zip(self.files(index)[1:], [*([depth] if self.has_depth else []), mask], strict=False):
            if other is not None and other.shape != rgb.shape[:2]:
                raise DataError(self._size(path, other.shape, name, rgb.shape[:2]))
        return Item(rgb, depth, mask, self.rgb[name].stem, metric)

    def _size(self, path: Path, size: tuple[int, ...], name: str, expected: tuple[int, ...]) -> str:
        text = f"{path}: is {size}, expected {expected} as in {self.rgb[name].name}"
        turn = reading(orientation, self.rgb[name])
        if turn >= 5:
            text += (
                f", which carries EXIF orientation {turn}: files are read as stored; turn its pixels and drop the tag"
            )
        return text
