"""``photo:ROOT``: photographs, sensor frames and rendered scenes below one folder, and what to validate on.

    ROOT/duts_tr/{RGB,GT}              photographs to train on (any folders of such names; ``_tr``, ``_train``)
    ROOT/duts_te/{RGB,GT}              photographs to validate on, never trained on
    ROOT/sensor_frames/{RGB,depth}     frames of real depth sensors, 16 bit, millimetres

Options: ``teacher=DIR``, soft maps NAME.png of the sensor frames; ``rendered=N``, how many rendered scenes join in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mutualformer.runtime.data.item import DataError, Item
from mutualformer.train.data.compositing.photographs import Photographs
from mutualformer.train.data.compositing.plausible import plausible_depth
from mutualformer.train.data.compositing.scenes import into_sensor_frame, on_a_table
from mutualformer.train.data.compositing.sensor import SensorFrames

TRAIN, VALIDATION, SENSOR = "duts_tr", "duts_te", "sensor_frames"
SEED = 20_261_125  # of everything drawn for validation: the same frames in every run


class PhotoRoot:
    """The parts of ``photo:ROOT``. Raises DataError where the photographs are missing."""

    def __init__(self, root: str | Path, teacher: str | None = None) -> None:
        self.root = Path(root)
        self.train = Photographs(self.root / TRAIN)
        validation, sensor = self.root / VALIDATION, self.root / SENSOR
        self.validation = Photographs(validation) if validation.is_dir() else None
        self.sensor = SensorFrames(sensor, teacher) if sensor.is_dir() else None

    def validation_sets(self, photographs: int = 100, composites: int = 40) -> dict[str, FixedFrames]:
        """Named sets: photographs without depth, the same with plausible depth, composites."""
        if self.validation is None:
            raise DataError(f"{self.root}: has no {VALIDATION}/, expected photographs to validate on")
        source, sensor = self.validation, self.sensor
        chosen = np.linspace(0, len(source) - 1, min(photographs, len(source))).round().astype(int)
        bare = [source[int(index)] for index in chosen]
        deep = []
        for index, item in enumerate(bare):
            assert item.mask is not None
            depth = plausible_depth(item.rgb, item.mask, np.random.default_rng([SEED, 1, index]))
            deep.append(item._replace(depth=depth))
        sets = []
        for index in range(composites):
            rng = np.random.default_rng([SEED, 2, index])
            if index % 2 and sensor is not None:
                scene = into_sensor_frame(source, sensor, (320, 320), rng)
            else:
                scene = on_a_table(source, (320, 320), rng)
            sets.append(Item(scene.rgb, scene.depth, scene.mask, f"composite-{index}"))
        return {"photographs": FixedFrames(bare), "with_depth": FixedFrames(deep), "composites": FixedFrames(sets)}


class FixedFrames:
    """Frames held in memory."""

    has_depth = True

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]
