"""Where a training starts: the weights of another checkpoint (``--init``), a teacher beside it (``--teacher``)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from mutualformer.train import checkpoint
from mutualformer.train.fitting.config import FitError

LEAST_SHARE = 0.5  # of a model's tensors that must be found, or the file is another model's


def weights_file(name: str) -> Path:
    """The checkpoint that ``name`` means: a file, or a shipped model's weights. Raises FitError."""
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        return path
    from mutualformer.runtime import zoo

    try:
        return zoo.weights(name)
    except (ValueError, RuntimeError, OSError) as error:
        raise FitError(f"{name}: no .safetensors checkpoint and no shipped model with weights ({error})") from error


def begin_with(model: nn.Module, name: str) -> list[str]:
    """Copy the tensors of a checkpoint into ``model`` where name and shape agree; returns those that keep their own.

    Says in one line how many there were. Raises CheckpointError, and FitError where the file is of another model.
    """
    path = weights_file(name)
    theirs = checkpoint.read_tensors(path)
    ours = model.state_dict()
    fits = {key for key, value in ours.items() if key in theirs and theirs[key].shape == value.shape}
    if len(fits) < LEAST_SHARE * len(ours):
        raise FitError(
            f"{path}: {len(fits)} of {len(ours)} tensors fit {model.spec.name}; expected a checkpoint of that model"
        )
    with torch.no_grad():
        for key in fits:
            ours[key].copy_(theirs[key])  # also from half precision
    own = sorted(set(ours) - fits)
    logging.getLogger("mutualformer").warning(
        "%s: %d of %d tensors from %s%s",
        model.spec.name,
        len(fits),
        len(ours),
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
