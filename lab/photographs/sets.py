"""``photo:ROOT``: photographs, sensor frames and rendered scenes below one folder, and what to validate on.

    ROOT/duts_tr/{RGB,GT}              photographs to train on (any folders of such names; ``_tr``, ``_train``)
    ROOT/duts_te/{RGB,GT}              photographs to validate on, never trained on
    ROOT/sensor_frames/{RGB,depth}     frames of real depth sensors, 16 bit, millimetres

Options: :mod:`lab.photographs.kind`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.photographs.photographs import Photographs
from lab.photographs.plausible import plausible_depth
from lab.photographs.scenes import Composite, into_sensor_frame, on_a_table
from lab.photographs.sensor import SensorFrames
from mutualformer.runtime.sources.frame import DataError, Item

TRAIN, VALIDATION, SENSOR = "duts_tr", "duts_te", "sensor_frames"
SEED = 20_261_125  # of everything drawn for validation: the same frames in every run
VALIDATED = 100  # photographs that `fit` validates on
COMPOSITE_SIZE = (320, 320)


class PhotoRoot:
    """The parts of ``photo:ROOT``. Raises DataError where the photographs are missing."""

    def __init__(self, root: str | Path, teacher: str | None = None) -> None:
        self.root = Path(root)
        self.train = Photographs(self.root / TRAIN)
        validation, sensor = self.root / VALIDATION, self.root / SENSOR
        self.validation = Photographs(validation) if validation.is_dir() else None
        self.sensor = SensorFrames(sensor, teacher) if sensor.is_dir() else None

    def _validating(self, photographs: int) -> NDArray[np.intp]:
        """Which photographs of the validation folder are validated on: as many as asked for, spread over it."""
        if self.validation is None:
            raise DataError(f"{self.root}: has no {VALIDATION}/, expected photographs to validate on")
        count = len(self.validation)
        return np.linspace(0, count - 1, min(photographs, count)).round().astype(np.intp)

    def validation_sets(self, photographs: int = VALIDATED, composites: int = 40) -> dict[str, FixedFrames]:
        """Named sets: photographs without depth, the same with plausible depth, composites."""
        chosen = self._validating(photographs)
        source, sensor = self.validation, self.sensor
        assert source is not None
        bare = [source[int(index)] for index in chosen]
        sets = []
        for index in range(composites):
            rng = np.random.default_rng([SEED, 2, index])
            if index % 2 and sensor is not None:
                scene = into_sensor_frame(source, sensor, COMPOSITE_SIZE, rng)
            else:
                scene = on_a_table(source, COMPOSITE_SIZE, rng)
            sets.append(_composite(scene, index))
        return {
            "photographs": FixedFrames(bare),
            "with_depth": FixedFrames(_with_drawn_depth(bare, 1)),
            "composites": FixedFrames(sets),
        }

    def unseen_sets(self, count: int) -> dict[str, FixedFrames]:
        """Named sets of up to ``count`` frames for a comparison, from photographs that are not validated on.

        photographs (without depth), with_depth (the same, drawn depth) and composites: objects of these photographs
        in real sensor frames. The sensor frames are those that training has, the objects are not. Where every
        photograph is validated on, says so in one line and takes them all. Raises DataError.
        """
        validating = set(self._validating(VALIDATED).tolist())
        assert self.validation is not None
        if self.sensor is None:
            raise DataError(f"{self.root}: has no {SENSOR}/, expected frames of a depth sensor to paste objects into")
        names = [name for index, name in enumerate(self.validation.names) if index not in validating]
        if not names:
            logging.getLogger("mutualformer").warning(
                "%s: `fit` validates on all of its %d photographs, so a comparison has no others; more than %d are "
                "needed for that",
                self.validation.root,
                len(self.validation),
                VALIDATED,
            )
            names = self.validation.names
        source = self.validation.only(names)
        spread = np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int)
        bare = [source[int(index)] for index in spread]
        composites = [
            _composite(into_sensor_frame(source, self.sensor, COMPOSITE_SIZE, np.random.default_rng([SEED, 3, i])), i)
            for i in range(count)
        ]
        return {
            "photographs": FixedFrames(bare),
            "with_depth": FixedFrames(_with_drawn_depth(bare, 4)),
            "composites": FixedFrames(composites),
        }


def _with_drawn_depth(photographs: list[Item], stream: int) -> list[Item]:
    """The same pictures with plausible depth; ``stream`` separates the random draws of several lists."""
    deep = []
    for index, item in enumerate(photographs):
        assert item.mask is not None
        depth = plausible_depth(item.rgb, item.mask, np.random.default_rng([SEED, stream, index]))
        deep.append(item._replace(depth=depth))
    return deep


def _composite(scene: Composite, index: int) -> Item:
    return Item(scene.rgb, scene.depth, scene.mask, f"composite-{index}")


class FixedFrames:
    """Frames held in memory."""

    has_depth = True

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]
