"""A task as one frozen record: everything about it that training and evaluation need. A new task is one more of these.

What the runtime knows of it (inputs, output, metrics, budgets) is :mod:`mutualformer.runtime.tasks`. Classes and
functions are named by their places and imported when they are called: the table costs nothing and closes no circle.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mutualformer.runtime.sources import opening

Samples = Any  # what a task's ``open`` gives: Frames for SOD, ReidData for ReID


def load(place: str) -> Any:
    """The object at "module:name", a module of this package."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"mutualformer.train.{module}"), name)


@dataclass(frozen=True)
class Task:
    """``options``: what of a ModelSpec, beside its architecture, may be overridden.

    Places ("module:name") for :func:`load`: ``model``, the model's class; ``training``, Lightning's module with the
    loss, made of (model, recipe, schedule); ``batches``, a BatchSource made of (samples, spec, recipe, seed); and
    ``score``, (session, samples, title, corruption) → metrics.
    ``open(data, size, cache, split)``: DATA as samples. ``probes``: what ``evaluate --probe`` looks at, beside the data
    as they are.
    """

    options: tuple[str, ...]
    model: str
    training: str
    batches: str
    score: str
    open: Callable[[str, tuple[int, int] | None, bool, str], Samples]
    probes: tuple[str, ...]


TASKS: Mapping[str, Task] = {
    "sod": Task(
        options=("input_size", "depth_range_m"),
        model="sod:SalientObjectDetector",
        training="fitting.task:SodTask",
        batches="fitting.batches.sod_batches:SodBatches",
        score="evaluation.maps:score",
        open=lambda data, size, cache, split: opening.frames(data, size, cache, split),
        probes=("depth=shuffle", "depth=unit", "depth=holes", "depth=zero", "rgb=grey,depth=holes", "rgb=zero"),
    ),
    "reid": Task(
        options=("input_size",),
        model="reid:ReIdentifier",
        training="fitting.reid_task:ReidTask",
        batches="fitting.batches.reid_batches:ReidBatches",
        score="evaluation.features:score",
        open=lambda data, size, cache, split: opening.identities(data, size, split),
        probes=("nir=shuffle", "nir=zero", "rgb=zero"),
    ),
}
