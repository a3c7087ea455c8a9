"""The detector's training loss: F3Net's pixel-position-aware loss, deeply supervised (Wei et al., AAAI 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mutualformer.train.fitting.recipes.recipe import Losses

LOSSES = Losses()


def position_weight(mask: Tensor, kernel: int = 31, edges: float = 5.0) -> Tensor:
    """1 + ``edges``·|avgpool(m) − m|, (B, H, W): edges and thin parts, unlike their surroundings, count more.

    ``kernel``: odd, F3Net's 31 pixels at 352²; smaller training sizes scale it to keep the surroundings the same.
    """
    half = kernel // 2
    m = mask.unsqueeze(1)
    # One axis after the other: 62 additions a pixel instead of 961.
    rows = F.avg_pool2d(m, (kernel, 1), stride=1, padding=(half, 0))
    local = F.avg_pool2d(rows, (1, kernel), stride=1, padding=(0, half))
    return 1.0 + edges * (local - m).abs().squeeze(1)


def structure_losses(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """(weighted BCE, weighted IoU loss) of (B, H, W) logits against a mask in [0, 1], averaged over the batch."""
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    bce = (weight * bce).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    probability = torch.sigmoid(logits)
    overlap = (probability * mask * weight).sum(dim=(1, 2))
    union = ((probability + mask) * weight).sum(dim=(1, 2))
    return torch.stack([bce.mean(), (1.0 - (overlap + 1.0) / (union - overlap + 1.0)).mean()])


def deep_supervision_losses(
    logits: Sequence[Tensor], mask: Tensor, certain: Tensor | None = None, weights: Losses = LOSSES
) -> Tensor:
    """(BCE, IoU loss), each summed over the decoder's outputs, (B, h, w) at their own sizes, with their weights.

    ``mask``: (B, H, W) in [0, 1]; averaged down to an output's size where that is smaller. ``certain``: (B, H, W) in
    [0, 1], the weight of a pixel's truth; None = 1 everywhere.
    """
    if len(logits) != len(weights.supervision):
        raise ValueError(
            f"{len(logits)} outputs to supervise, losses.supervision has {len(weights.supervision)} weights"
        )
    targets: dict[int, tuple[Tensor, Tensor]] = {}
    total = torch.zeros(2, device=mask.device, dtype=mask.dtype)
    for share, output in zip(weights.supervision, logits, strict=True):
        height = output.shape[1]
        if height not in targets:
            target = F.avg_pool2d(mask.unsqueeze(1), mask.shape[1] // height).squeeze(1)
            weight = position_weight(target, max(3, int(31 * min(target.shape[1:]) / 352) | 1), weights.edges)
            if certain is not None:  # never 0: a frame without any known pixel would divide by it
                certainty = F.avg_pool2d(certain.unsqueeze(1), certain.shape[1] // height).squeeze(1)
                weight = weight * certainty.clamp(min=1e-3)
            targets[height] = target, weight
        total = total + share * structure_losses(output.to(mask.dtype), *targets[height])
    return total
