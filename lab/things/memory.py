"""Contrast with things of earlier steps: a batch of two dozen things holds few that are hard to tell apart.

Cross-batch memory (Wang et al., CVPR 2020): features drift slowly once a network is pretrained, so those of the last
steps serve as further negatives at no cost.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.train.fitting.modules.pointwise import use_convolutions
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.reid_task import contrastive
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.task import TrainingTask

FROZEN, AT_A_TIME = 5, 8  # stages that do not learn (stride 16), pictures
MEMORY = 1024  # features
TEMPERATURE = 0.07
WHOLE = 2.0  # weight of the whole feature, which is what is compared in use; the streams alone count 1 each


class ThingsTask(TrainingTask):
    """``rgb``, ``nir`` uint8 (B, H, W, 3), ``label`` int64 (B,)."""

    memory: Tensor
    known: Tensor

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        super().__init__(model, recipe, schedule)
        net: Any = model
        width = 2 * net.trust.in_features  # three streams, and the whole
        self.beginnings: dict[tuple[int, ...], Any] = {}
        self.register_buffer("memory", torch.zeros(MEMORY, width))
        self.register_buffer("known", torch.full((MEMORY,), -1))

    def pyramid(self, backbone: Any, image: Tensor) -> list[Tensor]:
        """Maps (B, C, h, w) at strides 16 and 32 of one stream, whose first FROZEN stages do not learn.

        Frozen stages are compiled with their norms folded in and see a few pictures at a time, which then stay in the
        processor's cache: half of the time of the layers as they are.
        """
        key = image.shape[1:]
        if key not in self.beginnings:
            stages = nn.Sequential(backbone.conv_stem, backbone.bn1, *backbone.blocks[:FROZEN])
            stages = copy.deepcopy(stages).eval().to(memory_format=torch.contiguous_format)
            use_convolutions(stages)
            traced = torch.jit.trace(stages, image[:AT_A_TIME].contiguous())
            self.beginnings[key] = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        with torch.no_grad():
            parts = [self.beginnings[key](part.contiguous()) for part in image.split(AT_A_TIME)]
        maps = [torch.cat(parts).to(memory_format=torch.channels_last)]
        return [*maps, backbone.blocks[FROZEN:](maps[0])]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "loss" and the contrast of each stream and of the whole."""
        label = batch["label"]
        seen = self.model.camera_input(batch["rgb"]), self.model.camera_input(batch["nir"]).mean(dim=1, keepdim=True)
        streams = self.model.rgb_backbone, self.model.nir_backbone
        maps = [self.pyramid(backbone, x) for backbone, x in zip(streams, seen, strict=True)]
        units = [F.normalize(x.float(), dim=1) for x in self.model.identify(*maps).normed]
        filled = self.known >= 0
        against = filled & ~torch.isin(self.known, label)
        old = self.memory[against].split([x.shape[1] for x in units], dim=1)
        # A picture without content has no identity: it counts in the streams that see the other picture too.
        shown = [batch[name].flatten(1).amax(dim=1) > batch[name].flatten(1).amin(dim=1) for name in ("rgb", "nir")]
        shown += 2 * [torch.ones_like(shown[0])]
        parts = zip(units, shown, old, strict=True)
        each = [contrast(x[valid], label[valid], past) for x, valid, past in parts]
        with torch.no_grad():
            count = len(label)
            self.memory.copy_(torch.cat([torch.cat(units, dim=1), self.memory[:-count]]))
            self.known.copy_(torch.cat([label, self.known[:-count]]))
        names = ("rgb", "nir", "fused", "whole")
        return {"loss": total(each), **{name: value.detach() for name, value in zip(names, each, strict=True)}}


def contrast(unit: Tensor, label: Tensor, past: Tensor) -> Tensor:
    """Supervised contrast of ``unit`` (B, F) among themselves and against ``past`` (M, F), all of unit length."""
    return contrastive(unit, label, TEMPERATURE, past)


def total(each: Sequence[Tensor]) -> Tensor:
    """The loss of the streams and of the whole, which comes last."""
    return (torch.stack(list(each[:-1])).sum() + WHOLE * each[-1]) / (len(each) - 1 + WHOLE)
