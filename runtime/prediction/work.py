"""One batch of frames from reading to files: what a worker thread does here and a worker process on a cluster."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.prediction import saving, sheet
from mutualformer.runtime.prediction.look import AS_IT_IS, Look
from mutualformer.runtime.prediction.result import Prediction
from mutualformer.runtime.prediction.single import from_saliency
from mutualformer.runtime.prediction.unique_names import safe_name
from mutualformer.runtime.preprocess import InputError, prepare
from mutualformer.runtime.session import ModelOutputError, Session
from mutualformer.runtime.sources.frame import DataError, Item

# What one broken picture may raise; anything else, a full disk above all, ends the run.
BROKEN = (DataError, InputError, cv2.error, MemoryError)

# What Album.name gives where only reading tells the name.
UNKNOWN = re.compile(r"frame-[0-9]{6}$")

Reader = Callable[[], tuple[Item, bool]]


class Model:
    """A session under the label of its output folder. Sessions that cannot run twice at once take turns."""

    def __init__(self, label: str, session: Session) -> None:
        self.label, self.session = label, session
        concurrent = getattr(session, "concurrent", False)
        self._turn: Any = contextlib.nullcontext() if concurrent else threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Batched graph inputs → saliency (B, h, w)."""
        with self._turn:
            return np.asarray(self.session.run(**inputs)["saliency"], np.float32)


@dataclass(frozen=True)
class Plan:
    """What is made of each frame. ``out``: the folder. ``tiles``: frames shown on the contact sheet.

    ``labels``: the models' folders.
    """

    out: Path
    what: tuple[str, ...] = saving.DEFAULT
    threshold: float = THRESHOLD
    tiles: frozenset[int] = frozenset()
    labels: tuple[str, ...] = ("model",)
    look: Look = AS_IT_IS

    def folder(self, label: str) -> Path:
        """Where one model's files go: OUT itself where there is one model only."""
        return self.out / safe_name(label) if len(self.labels) > 1 else self.out

    def written(self, name: str) -> bool:
        """Whether every file of the frame called ``name`` is there, and none of them empty."""
        paths = (saving.target(self.folder(label), kind, name) for label in self.labels for kind in self.what)
        return all(path.is_file() and path.stat().st_size for path in paths)


@dataclass
class FrameOutcome:
    """One frame done. ``name``: of its files. ``rows``: what each model said, for predictions.csv. ``error``: why there
    is no answer. ``tile``: its strip of the contact sheet as JPEG. ``has_depth``: whether depth was measured anywhere.
    """

    index: int
    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    tile: bytes | None = None
    has_depth: bool = True


def rows(result: Prediction, label: str) -> list[dict[str, Any]]:
    """Lines of predictions.csv, one an object, the nearest first: box in pixels, distances in metres.

    A frame in which nothing is salient has one line with an area of 0 and no object.
    """
    lines: list[dict[str, Any]] = []
    for number, one in enumerate(result.objects, start=1):
        edges = zip(("left", "top", "right", "bottom"), one.pixels(*result.alpha.shape), strict=True)
        lines.append({"model": label, "object": number, **dict(edges), **one.numbers()})
    return lines or [{"model": label, "area": 0.0}]


def process(batch: Sequence[tuple[int, str, Reader]], models: Sequence[Model], plan: Plan) -> list[FrameOutcome]:
    """Read, predict and write the frames of one batch: (index, name, reader) each. One FrameOutcome each, in order.

    ``name``: what its files are called; of a data set that tells no names before it is read, the frame's own. A frame
    that cannot be read or does not fit has its reason in ``error`` and no files. Raises OSError where the output cannot
    be written.
    """
    outcomes = {index: FrameOutcome(index, name) for index, name, _ in batch}
    items: dict[int, Item] = {}
    for index, _, read in batch:
        outcome = outcomes[index]
        try:
            item, outcome.has_depth = read()
            if UNKNOWN.search(outcome.name):
                outcome.name = safe_name(item.name)
            items[index] = item._replace(name=outcome.name)
        except BROKEN as error:
            outcome.error = " ".join(str(error).split()) or type(error).__name__
    predictions: dict[int, list[Prediction]] = {index: [] for index in items}
    for model in models:
        _predict(model, items, outcomes, plan, predictions)
    for index in plan.tiles & items.keys():
        if not outcomes[index].error:
            outcomes[index].tile = sheet.strip(items[index].rgb, predictions[index])
    return [outcomes[index] for index, _, _ in batch]


def _predict(
    model: Model,
    items: Mapping[int, Item],
    outcomes: Mapping[int, FrameOutcome],
    plan: Plan,
    predictions: Mapping[int, list[Prediction]],
) -> None:
    """One model on one batch of frames, and its files."""
    prepared: dict[int, dict[str, NDArray[Any]]] = {}
    for index, item in items.items():
        try:
            prepared[index] = prepare(model.session.contract, item.rgb, item.depth)
        except BROKEN as error:
            outcomes[index].error = f"{item.name}: {error}"
    if not prepared:
        return
    folder = plan.folder(model.label)
    for index, saliency in _maps(model, prepared):
        outcome = outcomes[index]
        if isinstance(saliency, ModelOutputError):
            outcome.error = f"{outcome.name}: {saliency}"
            continue
        raw = plan.look.raw
        result = from_saliency(model.session, items[index], saliency, outcome.has_depth, plan.threshold, raw)
        try:
            saving.write(result, folder, plan.what, outcome.name, plan.look)
        except OSError as error:
            if error.errno not in saving.BAD_NAME:
                raise
            outcome.error = f"{outcome.name}: the disk takes no such name ({error.strerror})"
            continue
        outcome.rows += rows(result, model.label)
        if index in plan.tiles:
            predictions[index].append(result)


def _maps(
    model: Model, prepared: Mapping[int, dict[str, NDArray[Any]]]
) -> Iterator[tuple[int, NDArray[np.float32] | ModelOutputError]]:
    """Frame → saliency (h, w), or why the model has no finite answer to it, in one call if it goes well."""
    names = list(next(iter(prepared.values())))
    try:
        maps = model.run({name: np.concatenate([inputs[name] for inputs in prepared.values()]) for name in names})
        yield from zip(prepared, maps, strict=True)
    except ModelOutputError as error:
        if len(prepared) == 1:
            yield next(iter(prepared)), error
            return
        for index, inputs in prepared.items():
            yield from _maps(model, {index: inputs})
