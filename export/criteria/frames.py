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
    has_depth: bool = True

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def _root() -> Path | None:
    folder = os.environ.get(ENVIRONMENT, "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _optional(about: str, data: str, count: int) -> list[Share]:
    try:
        frames: Frames = opening.frames(data)
    except DataError:
        return []
    return [Share(about, frames, count)]


def _rendered(contract: Contract, count: int, seed: int) -> Share:
    data = f"synthetic:{count}?seed={seed}"
    return Share(f"rendered ({data})", opening.of_task(data, contract.task, contract.input_size), count)


def _worn(parts: list[Share], count: int) -> Share:
    """Frames of ``parts`` as a poor camera gives them: grey, and 43 % of their depth not measured.

    Activations are another size there: scales that never saw such frames clip what they bring.
    """
    from mutualformer.train.evaluation.corrupt import CorruptFrames

    source = [(part.frames, int(index)) for part in parts for index in range(len(part))]

    def make(index: int) -> Any:
        frames, at = source[index * len(source) // count]
        return frames[at]

    worn = CorruptFrames(Made(make, count), {"rgb": "grey", "depth": "holes"})
    return Share("grey ones, 43 % of depth missing", worn, count)


def calibration_frames(contract: Contract) -> Selection:
    """64 frames for INT8 scales: sensor frames, photographs, rendered scenes, grey ones with many holes.

    ReID: rendered ones alone.
    """
    parts: list[Share] = []
    root = _root()
    if contract.task == "sod" and root is not None:
        parts += _optional("sensor frames", str(root / "sensor_frames"), 24)
        parts += _optional("photographs of duts_tr without depth", str(root / "duts_tr"), 16)
    worn = 12 if contract.task == "sod" else 0
    parts.append(_rendered(contract, max(12, 64 - worn - sum(map(len, parts))), CALIBRATION_SEED))
    return Selection((*parts, _worn(parts, worn)) if worn else tuple(parts))


def parity_data(contract: Contract) -> str:
    """DATA of the rendered frames to compare on; ReID is judged on one set of identities, so these are all it gets."""
    return f"synthetic:24?seed={PARITY_SEED}"


def parity_frames(contract: Contract) -> Selection:
    """Frames to compare two SOD models on: the real pair first, photographs, sensor frames, rendered, worn.

    Not those that :func:`calibration_frames` takes its photographs from.
    """
    parts = _optional("real pair (sample:motorcycle)", "sample:motorcycle", 1)
    root = _root()
    if root is not None:
        parts += _optional("photographs of duts_te without depth", str(root / "duts_te"), 100)
        parts += _optional("sensor frames", str(root / "sensor_frames"), 50)
    parts.append(_rendered(contract, 24, PARITY_SEED))
    return Selection((*parts, _worn(parts[-2:], 24)))
