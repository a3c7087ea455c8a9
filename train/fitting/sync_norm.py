"""Batch norm over all processes, on CPUs too, so that N processes at batch B / N train what one does at batch B.

PyTorch's own SyncBatchNorm runs on accelerators only. The modules keep their classes' parameters and names: state
dicts do not change, and a model trained this way is an ordinary one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size, is_available, is_initialized


def _active(module: nn.Module) -> bool:
    return module.training and is_available() and is_initialized() and get_world_size() > 1


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
    if module.track_running_stats:
        count = x.numel() // x.shape[1] * world
        with torch.no_grad():
            module.num_batches_tracked.add_(1)
            module.running_mean.lerp_(mean, module.momentum)
            module.running_var.lerp_(variance * (count / max(count - 1, 1)), module.momentum)
    scale = torch.rsqrt(variance + module.eps)
    x = x * scale.view(shape)
    return x * module.weight.view(shape) + module.bias.view(shape) if module.affine else x


def synchronise(model: nn.Module) -> nn.Module:
    """Let every batch norm of ``model`` take its statistics over all processes; returns ``model``."""
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        original = type(module).forward
        after = [getattr(module, name) for name in ("drop", "act") if hasattr(module, name)]  # timm's BatchNormAct2d

        def forward(self: nn.Module, x: Tensor, original=original, after=tuple(after)) -> Tensor:  # type: ignore[no-untyped-def]
            if not _active(self):
                return original(self, x)
            x = synchronised_batch_norm(self, x)  # type: ignore[arg-type]
            for step in after:
                x = step(x)
            return x

        module.__class__ = type(type(module).__name__, (type(module),), {"forward": forward})
    return model


def gather(x: Tensor) -> Tensor:
    """(B / N, …) of this process → (B, …) of all, differentiable; ``x`` itself with one process."""
    if not (is_available() and is_initialized()) or get_world_size() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(x)))
