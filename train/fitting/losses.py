"""The detector's training loss: F3Net's pixel-position-aware loss, deeply supervised (Wei et al., AAAI 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Second pass, first pass, strides 4, 8, 16, 32: the decoder's outputs in their order.
SUPERVISION = (1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 8, 1 / 16)


def position_weight(mask: Tensor, kernel: int = 31) -> Tensor:
    """1 + 5·|avgpool(m) − m|, (B, H, W): edges and thin parts, unlike their surroundings, count more.

    ``kernel``: F3Net's 31 pixels at 352²; smaller training sizes scale it to keep the surroundings the same.
    """
    if kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}, expected an odd number of pixels")
    half = kernel // 2
    m = mask.unsqueeze(1)
    # The sums of all windows are differences of one running sum, an axis after the other: no cost grows with the kernel.
    for axis in (2, 3):
        total = F.pad(m if axis == 2 else local, (half + 1, half) if axis == 3 else (0, 0, half + 1, half)).cumsum(axis)
        size = total.shape[axis]
        local = total.narrow(axis, kernel, size - kernel) - total.narrow(axis, 0, size - kernel)
    return 1.0 + 5.0 * (local / kernel**2 - m).abs().squeeze(1)


def structure_loss(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Weighted BCE + weighted IoU of (B, H, W) logits against a mask in [0, 1], averaged over the batch."""
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    bce = (weight * bce).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    probability = torch.sigmoid(logits)
    overlap = (probability * mask * weight).sum(dim=(1, 2))
    union = ((probability + mask) * weight).sum(dim=(1, 2))
    return (bce + 1.0 - (overlap + 1.0) / (union - overlap + 1.0)).mean()


def deep_supervision_loss(logits: Sequence[Tensor], mask: Tensor, certain: Tensor | None = None) -> Tensor:
    """(L1 + L2)/2 + r2/2 + r3/4 + r4/8 + r5/16 over the decoder's outputs, (B, h, w) each at its own size.

    ``mask``: (B, H, W) in [0, 1]; averaged down to an output's size where that is smaller. ``certain``: (B, H, W) in
    [0, 1], what a pixel's truth counts for; None = everywhere 1.
    """
    if len(logits) != len(SUPERVISION):
        raise ValueError(f"{len(logits)} outputs to supervise, expected {len(SUPERVISION)}")
    targets: dict[int, tuple[Tensor, Tensor]] = {}
    total = torch.zeros((), device=mask.device, dtype=mask.dtype)
    for share, output in zip(SUPERVISION, logits, strict=True):
        height = output.shape[1]
        if height not in targets:
            target = F.avg_pool2d(mask.unsqueeze(1), mask.shape[1] // height).squeeze(1)
            weight = position_weight(target, max(3, int(31 * min(target.shape[1:]) / 352) | 1))
            if certain is not None:  # never quite 0, or a frame that nobody knows would divide by it
                certainty = F.avg_pool2d(certain.unsqueeze(1), certain.shape[1] // height).squeeze(1)
                weight = weight * certainty.clamp(min=1e-3)
            targets[height] = target, weight
        total = total + share * structure_loss(output.to(mask.dtype), *targets[height])
    return total
