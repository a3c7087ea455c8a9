"""A narrow backbone that begins as a wide one: hidden channels are chosen, and weights solved for, on pictures.

An inverted residual's hidden channels h are its own affair: whatever is left of them, input and output stay those of
the wide block. So every narrow block keeps the subset S of the wide one's hidden channels and the weights W that
reproduce its output o best, on the narrow network's own input:

    min over S, W, b of E ‖o − W h_S − b‖²        (|S| as wide as the narrow block)

W solves the normal equations; S is what is left after taking away, one at a time, the channel c whose loss is least,
tr(W_c ((Cov(h)⁻¹)_cc)⁻¹ W_cᵀ), with W and the inverse brought up to date each time (Optimal Brain Surgeon, Hassibi &
Stork 1993, for whole channels; where a larger kernel reads them, c stands for all its taps). Blocks go in order, so
that each one makes good what those before it lost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

RIDGE = 1e-4  # of the mean variance, on the diagonal: channels that never fire have none


class _Moments:
    """Means and covariances of columns ``x`` (n, a) and ``y`` (n, b), gathered in double precision."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        # Batch by batch: a double copy of everything would need gigabytes at stride 2.
        n = len(x)
        self.mean_x, self.mean_y = x.mean(0, dtype=torch.float64), y.mean(0, dtype=torch.float64)
        self.xx = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        self.yx = torch.zeros(y.shape[1], x.shape[1], dtype=torch.float64)
        for rows, targets in zip(x.split(1 << 16), y.split(1 << 16), strict=True):
            centred = (rows - self.mean_x).float()
            self.xx += (centred.T @ centred).double() / n
            self.yx += ((targets - self.mean_y).float().T @ centred).double() / n


def fit(x: Tensor, y: Tensor, keep: int, taps: int = 1) -> tuple[Tensor, Tensor, Tensor, _Moments]:
    """The ``keep`` channels of ``x`` (n, a · taps) that explain ``y`` (n, b) best with a linear map.

    ``taps``: columns of a channel, next to each other, which are kept or taken away together: those of a kernel.
    Returns the columns' indices (keep · taps,), weights (b, keep · taps), bias (b,), and the moments of all columns.
    Raises ValueError for more channels than there are.
    """
    channels = x.shape[1] // taps
    if not 0 < keep <= channels:
        raise ValueError(f"keep is {keep}, expected 1 … {channels}")
    moments = _Moments(x, y)
    ridge = RIDGE * moments.xx.diagonal().mean().clamp_min(1e-12)
    inverse = torch.linalg.inv(moments.xx + ridge * torch.eye(len(moments.xx), dtype=torch.float64))
    weights = moments.yx @ inverse
    columns = torch.arange(channels * taps).view(channels, taps)
    gone = torch.zeros(channels, dtype=torch.bool)
    for _ in range(channels - keep):
        # The block of a removed channel is all zeros, which has no inverse: the identity replaces it.
        own = inverse[columns[:, :, None], columns[:, None, :]]
        own[gone] = torch.eye(taps, dtype=torch.float64)
        parts = weights[:, columns].movedim(1, 0)  # (channels, b, taps)
        undone = own.reciprocal() if taps == 1 else torch.linalg.inv(own)
        loss = (parts @ undone * parts).sum((1, 2))
        worst = int(torch.where(gone, torch.inf, loss).argmin())
        gone[worst] = True
        rows = undone[worst] @ inverse[columns[worst]]
        weights -= weights[:, columns[worst]] @ rows
        inverse -= inverse[:, columns[worst]] @ rows
    left = columns[~gone].flatten()
    weights = weights[:, left]
    bias = moments.mean_y - weights @ moments.mean_x[left]
    return left, weights, bias, moments


def _columns(maps: Tensor) -> Tensor:
    """(B, C, h, w) → (B·h·w, C)."""
    return maps.movedim(1, -1).flatten(0, 2)


def _normed(maps: Tensor, norm: Any) -> Tensor:
    """Batch norm alone, without the activation that timm puts into the same module."""
    statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return nn.functional.batch_norm(maps, *statistics, eps=norm.eps)


def _set_linear(conv: nn.Conv2d, norm: Any, weights: Tensor, bias: Tensor, left: Tensor, moments: _Moments) -> None:
    """``norm(conv(x))`` = weights · x + bias, with the norm's statistics those that x has: so in training too."""
    covariance = moments.xx[left][:, left]
    mean = weights @ moments.mean_x[left]
    variance = ((weights @ covariance) * weights).sum(1).clamp_min(0)
    conv.weight.copy_(weights.view(conv.weight.shape))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean + bias)


def _copy_channels(ours: nn.Module, theirs: nn.Module, channels: Tensor) -> None:
    """State of a convolution or a norm, output ``channels`` only."""
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        state[name].copy_(value[channels] if value.dim() else value)


def narrow_block(ours: Any, theirs: Any, x: Tensor, wanted: Tensor) -> Tensor:
    """Set an inverted residual so that ``ours(x)`` comes near ``wanted``; returns what it gives.

    ``theirs``: the wide block whose hidden channels are to choose from. ``x`` (B, C, h, w): ours' input. ``wanted``
    (B, C', h', w').
    """
    hidden = theirs.conv_pw(x)
    for norm, step in ((theirs.bn1, theirs.conv_dw), (theirs.bn2, nn.Identity())):
        hidden = step(ours.bn1.act(_normed(hidden, norm)))  # ours: the narrow network may have another activation
    target = wanted - x if ours.has_skip else wanted
    left, weights, bias, moments = fit(_columns(hidden), _columns(target), ours.conv_pwl.weight.shape[1])
    for name in ("conv_pw", "bn1", "conv_dw", "bn2"):
        _copy_channels(getattr(ours, name), getattr(theirs, name), left)
    _set_linear(ours.conv_pwl, ours.bn3, weights, bias, left, moments)
    return ours(x)  # type: ignore[no-any-return]


@torch.no_grad()
def narrow_backbone(ours: Any, theirs: Any, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Begin timm's EfficientNet features ``ours`` as ``theirs`` with the same or wider and deeper stages.

    ``pictures`` (B, 3, H, W), standardised. Returns (ours, theirs) for the maps at every stride both give. The last
    block of a stage aims at the end of the wide network's stage, also where that is deeper.
    """
    training = ours.training
    ours.eval(), theirs.eval()
    for name in ("conv_stem", "bn1"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
    x, t = ours.bn1(ours.conv_stem(pictures)), theirs.bn1(theirs.conv_stem(pictures))
    ends, wide = [], []
    for i, stage in enumerate(theirs.blocks):
        outputs = []
        for block in stage:
            t = block(t)
            outputs.append(t)
        wide.append(t)
        if i >= len(ours.blocks):
            continue
        for j, block in enumerate(ours.blocks[i]):
            if hasattr(block, "conv_pwl"):
                last = j + 1 == len(ours.blocks[i])
                x = narrow_block(block, stage[j], x, outputs[-1] if last else outputs[j])
            else:  # depthwise separable: nothing hidden to choose from
                block.load_state_dict(stage[j].state_dict())
                x = block(x)
        ends.append(x)
    ours.train(training)
    return [
        (ends[int(a["module"].split(".")[1])], wide[int(b["module"].split(".")[1])])
        for a, b in zip(ours.feature_info.get_dicts(), theirs.feature_info.get_dicts(), strict=True)
    ]


@torch.no_grad()
def narrow_stem(ours: Any, theirs: Any, x: Tensor) -> None:
    """Set the first two convolutions of timm's MobileNetV4 features: fewer channels between them, the same after.

    ``x`` (B, 3, H, W): what the stream reads. Both in eval mode.
    """
    hidden = theirs.act1(theirs.bn1(theirs.conv_stem(x)))
    mine, other = ours.blocks[0][0], theirs.blocks[0][0]
    target = _normed(other.conv(hidden), other.bn1)
    taps = nn.functional.unfold(hidden, other.conv.kernel_size, padding=other.conv.padding, stride=other.conv.stride)
    size = mine.conv.weight[0, 0].numel()
    columns, outputs = taps.movedim(1, -1).flatten(0, 1), _columns(target)
    left, weights, bias, moments = fit(columns, outputs, mine.conv.in_channels, size)
    for name in ("conv_stem", "bn1"):
        _copy_channels(getattr(ours, name), getattr(theirs, name), left[::size] // size)
    _set_linear(mine.conv, mine.bn1, weights, bias, left, moments)


@torch.no_grad()
def narrow_squeeze(ours: Any, theirs: Any, maps: tuple[Tensor, Tensor]) -> None:
    """Set a 1×1 convolution with its norm so that it makes of our map what ``theirs`` makes of the wide one."""
    mine, other = maps
    normed = theirs[1](theirs[0](other))
    left, weights, bias, moments = fit(_columns(mine), _columns(normed), mine.shape[1])
    _set_linear(ours[0], ours[1], weights, bias, left, moments)


def explained(ours: Tensor, theirs: Tensor) -> float:
    """Share of the variance of ``theirs`` that ``ours`` reproduces, over channels together; 1 = all."""
    error = (ours - theirs).square().mean()
    return float(1 - error / theirs.var(dim=(0, 2, 3)).mean())
