"""One batch of frames from reading to files: the work of a thread here, and of a worker process on a cluster."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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

# What one corrupt picture may raise; anything else, a full disk above all, ends the run.
BROKEN = (DataError, InputError, cv2.error, MemoryError)

# How files end that were not cut short. WebP has no end of its own.
ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".json": b"}"}

# The name that ``name_of`` gives to a frame whose own name is known only after reading it.
UNKNOWN = re.compile(r"frame-[0-9]{6}$")

Reader = Callable[[], Item]
T = TypeVar("T")


def given(answer: T) -> Callable[[], T]:
    """A reader whose frame is in memory already."""
    return lambda: answer


class Model:
    """A session under the label of its output folder. Sessions that cannot run twice at once take turns."""

    def __init__(self, label: str, session: Session) -> None:
        self.label, self.session = label, session
        self._turn: Any = contextlib.nullcontext() if session.concurrent else threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Batched graph inputs → saliency (B, h, w)."""
        with self._turn:
            return np.asarray(self.session.run(**inputs)["saliency"], np.float32)


@dataclass(frozen=True)
class Plan:
    """What is made of each frame. ``out``: the output folder. ``labels``: the models' folders below it.

    ``what``: kinds of files (:data:`saving.KINDS`). ``every``: every so many frames one is shown on the contact sheet;
    0 while nobody knows how many frames there will be: then as many as fit so far.
    """

    out: Path
    what: tuple[str, ...] = saving.DEFAULT
    threshold: float = THRESHOLD
    labels: tuple[str, ...] = ("model",)
    look: Look = AS_IT_IS
    every: int = 0

    def on_sheet(self, index: int) -> bool:
        """Whether frame ``index`` is shown on the contact sheet."""
        return index % (self.every or sheet.every(index + 1)) == 0

    def folder(self, label: str) -> Path:
        """The folder of one model's files: OUT itself where there is only one model."""
        return self.out / safe_name(label) if len(self.labels) > 1 else self.out

    def written(self, name: str) -> bool:
        """Whether every output file of the frame called ``name`` exists and is whole."""
        paths = (saving.target(self.folder(label), kind, name) for label in self.labels for kind in self.what)
        return all(whole(path) for path in paths)


def whole(path: Path) -> bool:
    """Whether an output file exists and ends as a file of its kind does that was not cut short."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 16))
        end = stream.read().rstrip(b"\n")
    return bool(end) and end.endswith(ENDS.get(path.suffix, b""))


@dataclass
class FrameOutcome:
    """One finished frame. ``name``: of its files. ``rows``: each model's lines for predictions.csv. ``error``: why it
    has no answer. ``tile``: its strip of the contact sheet as JPEG. ``has_depth``: whether any depth was measured.
    """

    index: int
    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    tile: bytes | None = None
    has_depth: bool = True


def sentence(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def rows(result: Prediction, label: str) -> list[dict[str, Any]]:
    """Lines of predictions.csv, one per object, the nearest first: box in pixels, distances in metres.

    A frame in which nothing is salient has one line with an area of 0 and no object.
    """
    lines: list[dict[str, Any]] = []
    for number, one in enumerate(result.objects, start=1):
        edges = zip(("left", "top", "right", "bottom"), one.pixels(*result.alpha.shape), strict=True)
        lines.append({"model": label, "object": number, **dict(edges), **one.numbers()})
    return lines or [{"model": label, "area": 0.0}]


def process(batch: Sequence[tuple[int, str, Reader]], models: Sequence[Model], plan: Plan) -> list[FrameOutcome]:
    """Read, predict and write the frames of one batch, (index, name, reader) each; returns their outcomes in order.

    ``name``: of the files; where it is known only after reading, the frame's own name is taken. A frame that cannot be
    read or does not fit has the reason in ``error`` and no files. Raises OSError where output cannot be written.
    """
    outcomes = {index: FrameOutcome(index, name) for index, name, _ in batch}
    items: dict[int, Item] = {}
    for index, _, read in batch:
        outcome = outcomes[index]
        try:
            item = read()
            outcome.has_depth = bool(item.depth.any())
            if UNKNOWN.search(outcome.name):
                outcome.name = safe_name(item.name)
            items[index] = item._replace(name=outcome.name)
        except BROKEN as error:
            outcome.error = sentence(error)
    predictions: dict[int, list[Prediction]] = {index: [] for index in items}
    for model in models:
        _predict(model, items, outcomes, plan, predictions)
    for index in filter(plan.on_sheet, items):
        if not outcomes[index].error:
            outcomes[index].tile = sheet.strip(items[index].rgb, predictions[index])
    return list(outcomes.values())


def _predict(
    model: Model,
    items: Mapping[int, Item],
    outcomes: Mapping[int, FrameOutcome],
    plan: Plan,
    predictions: Mapping[int, list[Prediction]],
) -> None:
    """Run one model on one batch of frames and write its files."""
    prepared: dict[int, dict[str, NDArray[Any]]] = {}
    for index, item in items.items():
        try:
            prepared[index] = prepare(model.session.contract, item.rgb, item.depth)
        except BROKEN as error:
            outcomes[index].error = f"{item.name}: {error}"
    for index, saliency in _maps(model, prepared):
        outcome = outcomes[index]
        if isinstance(saliency, ModelOutputError):
            outcome.error = f"{outcome.name}: {saliency}"
            continue
        result = from_saliency(
            model.session, items[index], saliency, outcome.has_depth, plan.threshold, raw=plan.look.raw
        )
        try:
            saving.write(result, plan.folder(model.label), plan.what, outcome.name, plan.look)
        except OSError as error:
            if error.errno not in saving.BAD_NAME:
                raise
            outcome.error = f"{outcome.name}: the file system refuses this name ({error.strerror})"
            continue
        outcome.rows += rows(result, model.label)
        if plan.on_sheet(index):
            predictions[index].append(result)


def _maps(
    model: Model, prepared: Mapping[int, dict[str, NDArray[Any]]]
) -> Iterator[tuple[int, NDArray[np.float32] | ModelOutputError]]:
    """Frame → saliency (h, w). Where a batch has an answer that is not finite, its frames are run one by one to find
    the frame that is at fault; that one gets the error."""
    if not prepared:
        return
    names = next(iter(prepared.values()))
    try:
        maps = model.run({name: np.concatenate([inputs[name] for inputs in prepared.values()]) for name in names})
        yield from zip(prepared, maps, strict=True)
    except ModelOutputError as error:
        if len(prepared) == 1:
            yield next(iter(prepared)), error
            return
        for index, inputs in prepared.items():
            yield from _maps(model, {index: inputs})
