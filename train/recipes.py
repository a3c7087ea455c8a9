"""Named training recipes: everything about a run that is not the model or the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from train.data.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How to train.

    ``steps``: optimiser steps. ``batch``: global, over all processes and accumulation. ``stages``: (share of the run
    at which it starts, side in pixels of square training pictures, a multiple of 32); () = the model's input size.
    ``learning_rate``: peak of a cycle that warms up over ``warmup`` of the run and falls as a cosine to
    ``final`` · peak. ``backbone_lr``: factor on the backbones' rate (below 1 for pretrained ones).
    ``ema``: decay of the averaged weights that are saved, 0 = none. ``minutes``: time budget, 0 = none; a run
    that would take longer goes through its schedule by the clock and is then not reproducible to the bit.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    stages: tuple[tuple[float, int], ...] = ()
    warmup: float = 0.1
    final: float = 0.01
    weight_decay: float = 0.02
    backbone_lr: float = 1.0
    clip: float = 2.0
    ema: float = 0.99
    minutes: float = 0.0
    optimizer: str = "adamw"
    augmentation: Augmentation = field(default_factory=Augmentation)
    note: str = ""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "demo",
            steps=900,
            batch=16,
            learning_rate=4e-3,
            stages=((0.0, 128), (0.45, 160), (0.85, 224)),
            minutes=4.0,
            note="sod-nano from scratch on two cores in minutes",
        ),
        Recipe(
            "default",
            steps=4000,
            batch=16,
            learning_rate=4e-3,
            stages=((0.0, 128), (0.4, 192), (0.8, 320)),
            ema=0.995,
            minutes=18.0,
            note="sod-nano from scratch on two cores in less than 20 minutes, rendering included",
        ),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe ``name``. Raises ValueError listing the known ones."""
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
