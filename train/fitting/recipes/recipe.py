"""The fields of a recipe. The defaults are for training from scratch on rendered scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mutualformer.train.data.augment import Augmentation

Stage = tuple[float, int] | tuple[float, int, int]


@dataclass(frozen=True)
class Losses:
    """Weights of the parts of a loss.

    ``supervision``: of a detector's outputs, in their order: second pass, first pass, strides 4, 8, 16, 32 (F3Net's
    weights). ``edges``: extra weight of a pixel that is unlike its surroundings. ``teacher_map``, ``teacher_features``:
    used where the training data bring a teacher (``lab/photographs``). ReID: ``contrast``, and ``triplet_ramp``, the
    share of the run over which the triplet loss reaches its full weight; at full weight from the start, the hardest
    triplets collapse untrained features into one point.
    """

    supervision: tuple[float, ...] = (1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    edges: float = 5.0
    teacher_map: float = 1.0
    teacher_features: float = 0.5
    contrast: float = 0.0
    triplet_ramp: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How to train.

    ``steps``: optimiser steps. ``batch``: global, over all processes. ``stages``: (share of the run
    at which it starts, side in pixels of square training pictures, a multiple of 32), or (share, smallest, largest
    side): one is drawn for each step; () = the model's input size.
    ``learning_rate``: peak of a cycle that warms up over ``warmup`` of the run, stays there for ``plateau`` of it and
    falls as a cosine to ``final`` · peak. ``backbone_lr``: factor on the rate of the parameters whose names begin with
    one of ``backbones`` (below 1 for pretrained ones).
    ``freeze``: patterns of the beginnings of the names of parameters that keep their pretrained values, batch norms
    included; from ``thaw`` of the run on they learn too. ``keep_norms``: every batch norm keeps the statistics that it
    began with. ``pull``: decay towards the weights that the run began with instead of towards zero.
    ``ema``: decay of the averaged weights that are saved, 0 = none.
    ``mixture``: settings of a registered kind of training data (``train/fitting/kinds.py``); no other data read it.
    ``minutes``: time budget, 0 = none; a run that would take longer goes through its schedule by the clock and is then
    not reproducible to the bit.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    note: str = ""
    minutes: float = 0.0
    stages: tuple[Stage, ...] = ()
    warmup: float = 0.1
    plateau: float = 0.0
    final: float = 0.01
    optimizer: str = "adamw"
    weight_decay: float = 0.02
    clip: float = 2.0
    ema: float = 0.99
    pull: float = 0.0
    backbone_lr: float = 1.0
    backbones: tuple[str, ...] = ("*backbone",)
    freeze: tuple[str, ...] = ()
    thaw: float = 1.0
    keep_norms: bool = False
    losses: Losses = field(default_factory=Losses)
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixture: Mapping[str, float] = field(default_factory=dict)


def limited(recipe: Recipe, side: int) -> Recipe:
    """``recipe`` with no training picture larger than ``side`` pixels; stages that become alike are one.

    Raises ValueError unless ``side`` is a multiple of 32.
    """
    if side < 32 or side % 32:
        raise ValueError(f"--side is {side}, expected a multiple of 32 pixels")
    stages: list[Stage] = []
    for start, *sides in recipe.stages:
        low, high = min(sides[0], side), min(sides[-1], side)
        stage: Stage = (start, low) if low == high else (start, low, high)
        if not stages or stage[1:] != stages[-1][1:]:
            stages.append(stage)
    return replace(recipe, stages=tuple(stages))
