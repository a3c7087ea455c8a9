"""A task as one frozen record: everything about it that training and evaluation need. A new task is one more of these.

What the runtime knows of it (inputs, output, metrics, budgets) is :mod:`mutualformer.runtime.tasks`. Classes and
functions are named by their places and imported when they are called: the table costs nothing and closes no circle.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mutualformer.runtime import tasks as facts
from mutualformer.runtime.sources import opening

if TYPE_CHECKING:
    from torch import nn

    from mutualformer.runtime.session import Session
    from mutualformer.train.fitting.batches.sod_batches import BatchSource
    from mutualformer.train.fitting.recipes import Recipe
    from mutualformer.train.fitting.schedule import Schedule
    from mutualformer.train.fitting.task import TrainingTask
    from mutualformer.train.registry import ModelSpec

Samples = Any  # what a task's ``open`` gives: Frames for SOD, ReidData for ReID


def _load(place: str) -> Any:
    """The object at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Task:
    """``facts``: the runtime's record. ``options``: what of a ModelSpec, beside its architecture, may be overridden.

    ``model``, ``training``, ``batches``, ``evaluator``: places ("module:name") of the model's class, of the training
    task's, of the batches' and of the function that scores. ``open(data, size, cache, split)``: DATA as samples.
    ``strategy``: Lightning's, over several processes. ``probes``: what ``evaluate --probe`` looks at, beside the data
    as they are.
    """

    facts: facts.Task
    options: tuple[str, ...]
    model: str
    training: str
    batches: str
    evaluator: str
    open: Callable[[str, tuple[int, int] | None, bool, str], Samples]
    strategy: str
    probes: tuple[str, ...]

    def build(self, spec: ModelSpec, pretrained: bool) -> nn.Module:
        """The model that ``spec`` describes."""
        options = {name: getattr(spec, name) for name in self.options}
        model: nn.Module = _load(spec.model or self.model)(**options, pretrained=pretrained, **spec.architecture)
        return model

    def training_task(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> TrainingTask:
        """``model`` with its loss, for Lightning."""
        task: TrainingTask = _load(self.training)(model, recipe, schedule)
        return task

    def make_batches(self, samples: Samples, spec: ModelSpec, recipe: Recipe, seed: int) -> BatchSource:
        """Samples as training batches."""
        source: BatchSource = _load(self.batches)(samples, spec, recipe, seed)
        return source

    def score(self, session: Session, samples: Samples, **options: Any) -> dict[str, Any]:
        """Metrics of a model on ``samples``; ``options``: title, out, maps, corruption, curves."""
        metrics: dict[str, Any] = _load(self.evaluator)(session, samples, **options)
        return metrics


TASKS: Mapping[str, Task] = {
    "sod": Task(
        facts=facts.SOD,
        options=("input_size", "depth_range_m"),
        model="mutualformer.train.sod:SalientObjectDetector",
        training="mutualformer.train.fitting.task:SodTask",
        batches="mutualformer.train.fitting.batches.sod_batches:SodBatches",
        evaluator="mutualformer.train.evaluation.maps:score",
        open=lambda data, size, cache, split: opening.frames(data, size, cache, split),
        strategy="ddp_find_unused_parameters_true",  # frozen ones have no gradients before they thaw
        probes=("depth=shuffle", "depth=unit", "depth=holes", "depth=zero", "rgb=grey,depth=holes", "rgb=zero"),
    ),
    "reid": Task(
        facts=facts.REID,
        options=("input_size",),
        model="mutualformer.train.reid:ReIdentifier",
        training="mutualformer.train.fitting.reid_task:ReidTask",
        batches="mutualformer.train.fitting.batches.reid_batches:ReidBatches",
        evaluator="mutualformer.train.evaluation.features:score",
        open=lambda data, size, cache, split: opening.identities(data, size, split),
        strategy="ddp_find_unused_parameters_true",  # a class token leaves the patch pooling's parameters without use
        probes=("nir=shuffle", "nir=zero", "rgb=zero"),
    ),
}
