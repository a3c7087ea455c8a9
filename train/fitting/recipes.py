"""Named training recipes: everything about a run that is not the model or the data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mutualformer.train.data.augment import Augmentation


Stage = tuple[float, int] | tuple[float, int, int]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    ``steps``: optimiser steps. ``batch``: global, over all processes and accumulation. ``stages``: (share of the run
    at which it starts, side in pixels of square training pictures, a multiple of 32), or (share, smallest, largest
    side): one is drawn for each step; () = the model's input size.
    ``learning_rate``: peak of a cycle that warms up over ``warmup`` of the run, stays there for ``plateau`` of it and
    falls as a cosine to ``final`` · peak. ``backbone_lr``: factor on the rate of the parameters whose names begin with
    one of ``backbones`` (below 1 for pretrained ones).
    ``triplet_ramp``: share of the run over which ReID's triplet loss comes in; at once, its hardest triplets draw
    features that know nothing yet into one point. ``contrast``: weight of ReID's contrastive loss.
    ``freeze``: patterns of the beginnings of the names of parameters that keep their pretrained values, batch norms
    included; from ``thaw`` of the run on they learn too.
    ``ema``: decay of the averaged weights that are saved, 0 = none.
    ``minutes``: time budget, 0 = none; a run that would take longer goes through its schedule by the clock and is then
    not reproducible to the bit.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    stages: tuple[Stage, ...] = ()
    warmup: float = 0.1
    plateau: float = 0.0
    final: float = 0.01
    weight_decay: float = 0.02
    backbone_lr: float = 1.0
    backbones: tuple[str, ...] = ("*backbone",)
    clip: float = 2.0
    ema: float = 0.99
    minutes: float = 0.0
    triplet_ramp: float = 0.0
    contrast: float = 0.0
    optimizer: str = "adamw"
    freeze: tuple[str, ...] = ()
    thaw: float = 1.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    note: str = ""


# Edges and colours of ImageNet are edges and colours; these layers also cost most of a backward pass.
_LITE0_STEM = ("rgb_backbone.conv_stem", "rgb_backbone.bn1", "rgb_backbone.blocks.0.", "rgb_backbone.blocks.1.")
_LITE0_NORMS = ("rgb_backbone.*bn",)  # statistics of batches of six are worth less than ImageNet's
_NARROW_STEM = _LITE0_STEM[:3]  # the narrow stream has the wide one's beginning as it is, up to here

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "demo",
            steps=400,
            batch=16,
            learning_rate=4e-3,
            stages=((0.0, 128), (0.6, 192), (0.88, 320)),
            minutes=4.5,
            note="sod-nano from scratch on two cores in minutes, with about 1000 synthetic scenes",
        ),
        Recipe(
            "default",
            steps=1000,
            batch=16,
            learning_rate=4e-3,
            stages=((0.0, 128), (0.5, 192), (0.82, 320)),
            ema=0.99,
            minutes=15.0,
            note="sod-nano from scratch on two cores in less than 20 minutes, with about 2000 synthetic scenes",
        ),
        Recipe(
            "photo",
            steps=30_000,
            batch=12,
            learning_rate=6e-4,
            stages=((0.0, 256), (0.03, 320), (0.67, 288, 352)),
            warmup=0.005,
            plateau=0.75,
            final=0.01,
            backbone_lr=0.3,
            backbones=("rgb_backbone",),
            ema=0.999,
            freeze=(*_LITE0_STEM, *_LITE0_NORMS),
            thaw=0.25,
            note="sod-lite on photographs and composites (photo:ROOT), 27 epochs from its shipped weights "
            "(--init sod-lite): 14 hours of two free cores, two processes; it can be cut short",
        ),
        Recipe(
            "taught",
            steps=3600,
            batch=16,
            learning_rate=1e-3,  # the start is a good one: at 2e-3 it is forgotten for good
            stages=((0.0, 192), (0.45, 256), (0.88, 320)),
            warmup=0.02,
            final=0.01,
            backbone_lr=0.5,
            ema=0.995,
            freeze=_NARROW_STEM,
            note="sod-nano on photo:ROOT with sod-lite as its teacher (--teacher); two processes on two cores, an hour",
        ),
        Recipe(
            "finetune",
            steps=60,
            batch=8,
            learning_rate=3e-4,
            stages=((0.0, 256),),
            warmup=0.1,
            backbone_lr=0.2,
            ema=0.9,
            freeze=_LITE0_STEM,
            note="a shipped model (--init sod-lite) on a folder of yours: minutes on two cores, --steps for more",
        ),
        Recipe(
            "f3net",
            steps=21_000,
            batch=32,
            learning_rate=0.05,
            stages=((0.0, 224, 352),),
            warmup=0.5,
            final=0.0,
            weight_decay=5e-4,
            backbone_lr=0.1,
            clip=0.0,
            ema=0.0,
            optimizer="sgd",
            augmentation=Augmentation(crop=0.25, colour=0.3, grey=0, shuffle=0, holes=0, drop_rgb=0, drop_depth=0),
            note="F3Net's schedule for pretrained sod-r18 and sod-r50 on NJU2K + NLPR, 300 epochs of 2185 frames",
        ),
        Recipe(
            "reid",
            steps=1800,
            batch=128,
            learning_rate=8e-3,
            weight_decay=0.05,
            ema=0.99,
            minutes=15.0,
            triplet_ramp=1.0,
            contrast=1.0,
            note="reid-tiny from scratch on two cores in less than 20 minutes, with 400 synthetic identities",
        ),
        Recipe(
            "transreid",
            steps=24_000,
            batch=64,
            learning_rate=0.008,
            weight_decay=1e-4,
            warmup=0.04,
            final=0.002,
            clip=0.0,
            ema=0.0,
            optimizer="sgd",
            note="TransReID's schedule for a pretrained reid-vit-b16: SGD, cosine over about 120 epochs",
        ),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe ``name``. Raises ValueError listing the known ones."""
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def limited(recipe: Recipe, side: int) -> Recipe:
    """``recipe`` with no training picture larger than ``side`` pixels; stages that become alike are one.

    Raises ValueError unless ``side`` is a multiple of 32.
    """
    if side < 32 or side % 32:
        raise ValueError(f"--side is {side}, expected a multiple of 32 pixels")
    stages: list[Stage] = []
    for start, *sides in recipe.stages:
        low, high = min(sides[0], side), min(sides[-1], side)
        stage = (start, low) if low == high else (start, low, high)
        if not stages or stage[1:] != stages[-1][1:]:
            stages.append(stage)
    return replace(recipe, stages=tuple(stages))
