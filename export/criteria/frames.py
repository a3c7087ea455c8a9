"""Which frames a verb takes when nobody names any: real ones where this machine has them, and rendered ones.

MUTUALFORMER_DATA names a folder with ``duts_tr``, ``duts_te`` (photographs and masks) and ``sensor_frames`` (frames of
depth sensors). What is taken is returned as text, so that the caller can say it aloud and write it down.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError, Frames

ENVIRONMENT = "MUTUALFORMER_DATA"
CALIBRATION_SEED, PARITY_SEED = 9, 500_000


@dataclass(frozen=True)
class Share:
    """``count`` of ``frames``, evenly picked; ``about``: what they are, for people."""

    about: str
    frames: Any
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.frames))

    def __iter__(self) -> Iterator[Any]:
        for index in np.linspace(0, len(self.frames) - 1, len(self)).round().astype(int):
            yield self.frames[int(index)]


@dataclass(frozen=True)
class Selection:
    """Parts one after another; ``text``: what they are together."""

    parts: tuple[Share, ...]

    @property
    def text(self) -> str:
        """What the parts are and how many frames each gives, for people and model cards."""
        return ", ".join(f"{len(part)} {part.about}" for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts:
            yield from part


@dataclass(frozen=True)
class Made:
    """Frames made one at a time by ``make(index)``."""

    make: Callable[[int], Any]
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def _root() -> Path | None:
    folder = os.environ.get(ENVIRONMENT, "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _composites(root: Path, photographs: str, count: int, seed: int) -> list[Share]:
    """Objects of photographs in frames of a depth sensor, real holes and all; none where either is missing."""
    try:
        from mutualformer.train.data.compositing.photographs import Photographs
        from mutualformer.train.data.compositing.scenes import into_sensor_frame
        from mutualformer.train.data.compositing.sensor import SensorFrames

        source, sensor = Photographs(root / photographs), SensorFrames(root / "sensor_frames")
    except (DataError, ModuleNotFoundError):
        return []

    def make(index: int) -> Any:
        from mutualformer.runtime.sources.frame import Item

        scene = into_sensor_frame(source, sensor, (320, 320), np.random.default_rng([seed, index]))
        return Item(scene.rgb, scene.depth, scene.mask, f"composite-{index}")

    return [Share("composites of photographs and sensor frames", Made(make, count), count)]


def _photographs(root: Path, name: str, count: int) -> list[Share]:
    try:
        from mutualformer.train.data.compositing.photographs import Photographs

        return [Share(f"photographs of {name} without depth", Photographs(root / name), count)]
    except (DataError, ModuleNotFoundError):
        return []


def _optional(about: str, data: str, count: int) -> list[Share]:
    try:
        frames: Frames = opening.frames(data)
    except DataError:
        return []
    return [Share(about, frames, count)]


def _rendered(contract: Contract, count: int, seed: int) -> Share:
    data = f"synthetic:{count}?seed={seed}"
    return Share(f"rendered ({data})", opening.of_task(data, contract.task, contract.input_size), count)


def _worn(parts: list[Share], count: int, seed: int) -> Share:
    """Frames of ``parts`` as a poor camera gives them: grey, and most of their depth not measured.

    Activations are another size there: scales that never saw such frames clip what they bring.
    """
    from mutualformer.train.data.compositing.faults import holed

    source = [(part.frames, int(index)) for part in parts for index in range(len(part))]

    def make(index: int) -> Any:
        frames, at = source[index * len(source) // count]
        item, rng = frames[at], np.random.default_rng([seed, 1, index])
        grey = cv2.cvtColor(cv2.cvtColor(item.rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return item._replace(rgb=grey, depth=holed(item.depth, float(rng.uniform(0.3, 0.7)), rng))

    return Share("grey ones, most depth missing", Made(make, count), count)


def calibration_frames(contract: Contract) -> Selection:
    """64 frames for INT8 scales: composites, sensor frames, photographs, rendered scenes, grey ones with many holes.

    ReID: rendered ones alone.
    """
    parts: list[Share] = []
    root = _root()
    if contract.task == "sod" and root is not None:
        parts += _composites(root, "duts_tr", 18, CALIBRATION_SEED)
        parts += _optional("sensor frames", str(root / "sensor_frames"), 12)
        parts += _photographs(root, "duts_tr", 10)
    worn = 12 if contract.task == "sod" else 0
    parts.append(_rendered(contract, max(12, 64 - worn - sum(map(len, parts))), CALIBRATION_SEED))
    return Selection((*parts, _worn(parts, worn, CALIBRATION_SEED)) if worn else tuple(parts))


def parity_data(contract: Contract) -> str:
    """DATA of the rendered frames to compare on; ReID is judged on one set of identities, so these are all it gets."""
    return f"synthetic:24?seed={PARITY_SEED}"


def parity_frames(contract: Contract) -> Selection:
    """Frames to compare two SOD models on: the real pair first, photographs, sensor frames, composites, rendered, worn.

    Not those that :func:`calibration_frames` takes its photographs from.
    """
    parts = _optional("real pair (sample:motorcycle)", "sample:motorcycle", 1)
    root = _root()
    if root is not None:
        parts += _photographs(root, "duts_te", 100)
        parts += _optional("sensor frames", str(root / "sensor_frames"), 50)
        parts += _composites(root, "duts_te", 24, PARITY_SEED)
    parts.append(_rendered(contract, 24, PARITY_SEED))
    return Selection((*parts, _worn(parts[-3:], 24, PARITY_SEED)))
