"""A task as one frozen record: everything about it that training and evaluation need. A new task is one more of these.

What the runtime knows of it (inputs, output, metrics, budgets) is :mod:`mutualformer.runtime.tasks`. The functions
import what they need when they are called, so that the table costs nothing and closes no circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mutualformer.runtime import tasks as runtime_tasks

if TYPE_CHECKING:
    from torch import nn

    from mutualformer.runtime.data.item import Frames
    from mutualformer.runtime.data.reid_folder import ReidData
    from mutualformer.runtime.session import Session
    from mutualformer.train.fitting.batches import BatchSource
    from mutualformer.train.fitting.config import FitConfig
    from mutualformer.train.fitting.recipes import Recipe
    from mutualformer.train.fitting.schedule import Schedule
    from mutualformer.train.fitting.task import TrainingTask
    from mutualformer.train.registry import ModelSpec

Data = Any  # Frames for SOD, ReidData for ReID


@dataclass(frozen=True)
class Task:
    """``facts``: the runtime's record. ``options``: what of a ModelSpec, beside its architecture, may be overridden.

    ``build(spec, pretrained)``: the model. ``training(model, recipe, schedule)``: its loss. ``open(data, size, cache,
    split)``: DATA as samples; ``batches(config, spec, data)``: them as training batches. ``score(session, data, out,
    maps, corruption, curves, title)``: its metrics. ``strategy``: Lightning's, over several processes.
    ``probes``: what ``evaluate --probe`` looks at, beside the data as they are.
    """

    facts: runtime_tasks.Task
    options: frozenset[str]
    build: Callable[[ModelSpec, bool], nn.Module]
    training: Callable[[nn.Module, Recipe, Schedule], TrainingTask]
    open: Callable[[str, tuple[int, int] | None, bool, str], Data]
    batches: Callable[[FitConfig, ModelSpec, Data], BatchSource]
    score: Callable[..., dict[str, Any]]
    strategy: str
    probes: tuple[str, ...]


def _build_sod(spec: ModelSpec, pretrained: bool) -> nn.Module:
    from mutualformer.train.sod import SalientObjectDetector

    return SalientObjectDetector(spec.input_size, spec.depth_range_m, pretrained=pretrained, **spec.architecture)


def _train_sod(model: nn.Module, recipe: Recipe, schedule: Schedule) -> TrainingTask:
    from mutualformer.train.fitting.task import SodTask

    return SodTask(model, recipe, schedule)


def _open_sod(data: str, size: tuple[int, int] | None, cache: bool, split: str) -> Frames:
    from mutualformer.runtime.data.spec import open_data

    return open_data(data, "sod", size, cache, split)


def _sod_batches(config: FitConfig, spec: ModelSpec, data: Frames) -> BatchSource:
    from mutualformer.train.fitting.batches import SodBatches

    height, width = spec.input_size
    recipe = config.recipe
    return SodBatches(data, recipe.batch, recipe.augmentation, config.seed, aspect=width / height)


def _score_sod(session: Session, data: Frames, **options: Any) -> dict[str, Any]:
    from mutualformer.train.evaluation.sod import score

    return score(session, data, **options)


def _build_reid(spec: ModelSpec, pretrained: bool) -> nn.Module:
    from mutualformer.train.reid import ReIdentifier

    return ReIdentifier(spec.input_size, pretrained=pretrained, **spec.architecture)


def _train_reid(model: nn.Module, recipe: Recipe, schedule: Schedule) -> TrainingTask:
    from mutualformer.train.fitting.reid_task import ReidTask

    return ReidTask(model, recipe, schedule)


def _open_reid(data: str, size: tuple[int, int] | None, cache: bool, split: str) -> ReidData:
    from mutualformer.runtime.data.spec import open_identities

    return open_identities(data, size, split)


def _reid_batches(config: FitConfig, spec: ModelSpec, data: ReidData) -> BatchSource:
    from mutualformer.train.fitting.reid_batches import ReidBatches

    return ReidBatches(data, config.recipe.batch, config.seed, spec.input_size)


def _score_reid(session: Session, data: ReidData, **options: Any) -> dict[str, Any]:
    from mutualformer.train.evaluation.reid import score

    return score(session, data, **options)


TASKS: Mapping[str, Task] = {
    "sod": Task(
        facts=runtime_tasks.SOD,
        options=frozenset({"input_size", "depth_range_m"}),
        build=_build_sod,
        training=_train_sod,
        open=_open_sod,
        batches=_sod_batches,
        score=_score_sod,
        strategy="ddp",
        probes=("depth=shuffle", "depth=unit", "depth=holes", "depth=zero", "rgb=grey,depth=holes", "rgb=zero"),
    ),
    "reid": Task(
        facts=runtime_tasks.REID,
        options=frozenset({"input_size"}),
        build=_build_reid,
        training=_train_reid,
        open=_open_reid,
        batches=_reid_batches,
        score=_score_reid,
        strategy="ddp_find_unused_parameters_true",  # a class token leaves the patch pooling's parameters without use
        probes=("nir=shuffle", "nir=zero", "rgb=zero"),
    ),
}
