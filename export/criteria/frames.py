"""The frames that a verb takes by default: real ones where this machine has them, and rendered ones.

MUTUALFORMER_DATA names a folder with ``duts_tr``, ``duts_te`` (photographs and masks) and ``sensor_frames`` (frames of
depth sensors). A selection describes itself as text, which the caller prints and writes into the model's card.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from mutualformer.export.criteria import crops
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.folders.reid_folder import ReidData
from mutualformer.runtime.sources.frame import DataError, Frames
from mutualformer.runtime.sources.walk import spread_over

ENVIRONMENT = "MUTUALFORMER_DATA"
CALIBRATION_SEED, PARITY_SEED = 9, 500_000
PARITY_DATA = f"synthetic:24?seed={PARITY_SEED}"
"""What ReID is compared on where no photographs are: one set of rendered identities."""
REID_OBJECTS = 100  # photographs whose objects a ReID model is compared on; half of that to calibrate


@dataclass(frozen=True)
class Share:
    """``count`` of ``length`` frames, evenly picked; ``get``: index → frame; ``about``: what they are, for people."""

    about: str
    get: Callable[[int], Any]
    length: int
    count: int

    def __len__(self) -> int:
        return min(self.count, self.length)

    def __iter__(self) -> Iterator[Any]:
        yield from map(self.get, spread_over(self.length, self.count))


@dataclass(frozen=True)
class Selection:
    """Parts one after another."""

    parts: tuple[Share, ...]

    @property
    def text(self) -> str:
        """What the parts are and how many frames each gives, for people and model cards."""
        return ", ".join(f"{len(part)} {part.about}" for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.parts)


def _root() -> Path | None:
    folder = os.environ.get(ENVIRONMENT, "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _optional(about: str, data: str, count: int) -> list[Share]:
    try:
        frames: Frames = opening.frames(data)
    except DataError:
        return []
    return [Share(about, frames.__getitem__, len(frames), count)]


def share_of(data: str, contract: Contract, count: int) -> Share:
    """At most ``count`` frames of DATA, as a model of ``contract`` takes them. Raises DataError."""
    frames = opening.of_task(data, contract.task, contract.input_size)
    return Share(data, frames.__getitem__, len(frames), count)


def _rendered(contract: Contract, count: int, seed: int) -> Share:
    one = share_of(f"synthetic:{count}?seed={seed}", contract, count)
    return replace(one, about=f"rendered ({one.about})")


def _worn(parts: list[Share], count: int) -> Share:
    """Frames of ``parts`` as a poor camera gives them: grey, and 43 % of their depth not measured.

    Activations differ in size there, and scales that never saw such frames would clip them.
    """
    from mutualformer.train.evaluation.corrupt import spoilt

    source = [(part.get, index) for part in parts for index in range(len(part))]

    def make(index: int) -> Any:
        get, at = source[index * len(source) // count]
        item = get(at)
        return item._replace(**spoilt(item, {"rgb": "grey", "depth": "holes"}, None, index))

    return Share("grey ones, 43 % of depth missing", make, count, count)


def calibration_frames(contract: Contract) -> Selection:
    """64 frames for INT8 scales: sensor frames, photographs, rendered scenes, grey ones with many holes.

    ReID: objects of photographs, and rendered ones.
    """
    parts: list[Share] = []
    root = _root()
    if contract.task == "reid" and root is not None:
        with contextlib.suppress(DataError):  # no such set: rendered identities alone
            data, about = _objects(root / "duts_tr", REID_OBJECTS // 2)
            parts += [Share(about, data.__getitem__, len(data), REID_OBJECTS // 2)] if len(data) else []
    if contract.task == "sod" and root is not None:
        parts += _optional("sensor frames", str(root / "sensor_frames"), 24)
        parts += _optional("photographs of duts_tr without depth", str(root / "duts_tr"), 16)
    worn = 12 if contract.task == "sod" else 0
    parts.append(_rendered(contract, max(12, 64 - worn - sum(map(len, parts))), CALIBRATION_SEED))
    return Selection((*parts, _worn(parts, worn)) if worn else tuple(parts))


def _objects(folder: Path, count: int) -> tuple[ReidData, str]:
    """Objects of ``count`` photographs of a set, near-infrared mixed from colour; and what they are, in words."""
    data = crops.identities(opening.frames(str(folder)), count)
    return data, f"pictures of objects of {folder.name}, near-infrared from colour"


def parity_identities(contract: Contract) -> tuple[ReidData, str]:
    """Identities to compare two ReID models on, and what they are: objects of photographs, else rendered ones."""
    root = _root()
    if root is not None and (root / "duts_te").is_dir():
        data, about = _objects(root / "duts_te", REID_OBJECTS)
        if len(data):
            return data, f"{len(data)} {about}"
    return opening.identities(PARITY_DATA, contract.input_size), PARITY_DATA


def parity_frames(contract: Contract) -> Selection:
    """Frames to compare two SOD models on: the real pair first, photographs, sensor frames, rendered, worn.

    Its photographs are of another set than those of :func:`calibration_frames`.
    """
    parts = _optional("real pair (sample:motorcycle)", "sample:motorcycle", 1)
    root = _root()
    if root is not None:
        parts += _optional("photographs of duts_te without depth", str(root / "duts_te"), 100)
        parts += _optional("sensor frames", str(root / "sensor_frames"), 50)
    parts.append(_rendered(contract, 24, PARITY_SEED))
    return Selection((*parts, _worn(parts[-2:], 24)))
