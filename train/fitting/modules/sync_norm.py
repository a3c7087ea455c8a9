"""Batch norm over all processes, on CPUs too, so that N processes at batch B / N train what one does at batch B.

PyTorch's own SyncBatchNorm runs on accelerators only. The modules keep their classes' parameters and names: state
dicts do not change, and a model trained this way is an ordinary one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size, is_available, is_initialized


def _together() -> bool:
    """Whether there are several processes."""
    return is_available() and is_initialized() and get_world_size() > 1


def synchronised_batch_norm(module: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """(B, C, …) normalised with the statistics of all processes, each holding an equal share of the batch."""
    from torch.distributed.nn.functional import all_reduce

    dims = [0, *range(2, x.dim())]
    world = get_world_size()
    shape = (1, -1, *[1] * (x.dim() - 2))
    # Differentiable: gradients are reduced too. Two rounds: E[x²] − E[x]² loses its digits where the mean is large.
    mean = all_reduce(x.mean(dims)) / world
    x = x - mean.view(shape)
    variance = all_reduce((x * x).mean(dims)) / world
    count = x.numel() // x.shape[1] * world
    assert module.momentum is not None, "the models use no cumulative mean"
    with torch.no_grad():
        module.num_batches_tracked.add_(1)
        module.running_mean.lerp_(mean, module.momentum)
        module.running_var.lerp_(variance * (count / max(count - 1, 1)), module.momentum)
    x = x * torch.rsqrt(variance + module.eps).view(shape)
    return x * module.weight.view(shape) + module.bias.view(shape)


def _forward(module: nn.modules.batchnorm._BatchNorm, alone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a batch norm computes: ``alone`` in evaluation or with one process, otherwise together."""
    if not (module.training and _together()):
        return alone(x)
    x = synchronised_batch_norm(module, x)
    for name in ("drop", "act"):  # timm's BatchNormAct2d applies these afterwards
        x = getattr(module, name)(x) if hasattr(module, name) else x
    return x


def synchronise(model: nn.Module) -> nn.Module:
    """Let every batch norm of ``model`` take its statistics over all processes; returns ``model``.

    The modules stay the same objects of the same classes; only their ``forward`` is another.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(_forward, module, module.forward)  # type: ignore[method-assign]
    return model


def gather(x: Tensor) -> Tensor:
    """(B / N, …) of this process → (B, …) of all, differentiable; ``x`` itself with one process."""
    if not _together():
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(x)))
