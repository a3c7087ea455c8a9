"""Where a training starts: the weights of another checkpoint (``--init``), a teacher beside it (``--teacher``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mutualformer.errors import BuildError
from mutualformer.train import checkpoint
from mutualformer.train.fitting.config import FitError

LEAST_SHARE = 0.5  # of a model's tensors that must agree, or the file is another model's


def weights_file(name: str) -> Path:
    """The checkpoint that ``name`` means: a file, a run's folder, or a shipped model's weights. Raises FitError."""
    from mutualformer.runtime import zoo

    try:
        return zoo.weights(name)
    except (ValueError, RuntimeError, OSError) as error:
        raise FitError(f"{name}: no .safetensors checkpoint and no shipped model with weights ({error})") from error


class MismatchError(BuildError, ValueError):
    """Too few tensors of a file agree in name and shape with a model's."""


def copy_matching(model: nn.Module, tensors: Mapping[str, Tensor], least_share: float = 0.0) -> list[str]:
    """Copy ``tensors`` into ``model`` where name and shape agree, also from half precision.

    Returns the names of the model's tensors that keep their own values, sorted. Raises MismatchError, before anything
    is copied, where fewer than ``least_share`` of the model's tensors agree.
    """
    ours = model.state_dict()
    names = {name for name, value in ours.items() if name in tensors and tensors[name].shape == value.shape}
    if len(names) < least_share * len(ours):
        raise MismatchError(f"{len(names)} of {len(ours)} tensors fit {model.spec.name}")
    with torch.no_grad():
        for name in names:
            ours[name].copy_(tensors[name])
    return sorted(set(ours) - names)


def begin_with(model: nn.Module, name: str) -> list[str]:
    """Copy the tensors of a checkpoint into ``model`` where name and shape agree; returns those that keep their own.

    Says in one line how many there were. Raises CheckpointError, and FitError where the file is of another model.
    """
    path = weights_file(name)
    try:
        own = copy_matching(model, checkpoint.read_tensors(path), LEAST_SHARE)
    except MismatchError as error:
        raise FitError(f"{path}: {error}; expected a checkpoint of that model") from error
    total = len(model.state_dict())
    logging.getLogger("mutualformer").warning(
        "%s: %d of %d tensors from %s%s",
        model.spec.name,
        total - len(own),
        total,
        path,
        f"; {', '.join(own[:3])}{' …' if len(own) > 3 else ''} start anew" if own else "",
    )
    return own


def open_teacher(name: str) -> nn.Module:
    """A detector in eval mode. Raises CheckpointError, FitError."""
    teacher = checkpoint.load(weights_file(name))
    if teacher.spec.task != "sod":
        raise FitError(f"--teacher {name}: is a {teacher.spec.task} model, expected a detector")
    return teacher
