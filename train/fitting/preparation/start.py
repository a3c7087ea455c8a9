"""The first weights of a training: those of another checkpoint (``--init``), as far as they fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mutualformer.runtime import zoo
from mutualformer.train import checkpoint
from mutualformer.train.fitting.config import FitError

LEAST_SHARE = 0.5  # share of a model's tensors below which a checkpoint counts as another model's


def copy_matching(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy ``tensors`` into ``model`` where name and shape agree, also from half precision.

    Returns the names of the model's tensors that keep their own values, sorted.
    """
    ours = model.state_dict()
    names = {name for name, value in ours.items() if name in tensors and tensors[name].shape == value.shape}
    with torch.no_grad():
        for name in names:
            ours[name].copy_(tensors[name])
    return sorted(set(ours) - names)


def begin_with(model: nn.Module, name: str) -> None:
    """Copy the tensors of a checkpoint into ``model`` where name and shape agree, and log how many there were.

    Raises CheckpointError, ModelNameError, and FitError where the file is of another model.
    """
    path = zoo.weights(name)
    own = copy_matching(model, checkpoint.read_tensors(path, checkpoint.read_card(path)))
    total = len(model.state_dict())
    fitting = total - len(own)
    if fitting < LEAST_SHARE * total:
        raise FitError(
            f"{path}: {fitting} of {total} tensors fit {model.spec.name}; expected a checkpoint of that model"
        )
    rest = f"; {', '.join(own[:3])}{' …' if len(own) > 3 else ''} keep their first values" if own else ""
    logging.getLogger("mutualformer").warning(
        "%s: %d of %d tensors from %s%s", model.spec.name, fitting, total, path, rest
    )
