"""Training data as ``fit`` takes it, and the one place where a caller adds a kind of training data of their own.

DATA is read by ``mutualformer.runtime.sources`` unless its kind, the word before its colon, has been registered here::

    register("photo", opened)  # then fit(config) takes "photo:ROOT?teacher=MAPS"

``opened(config, facts)`` gets the whole run and what the card will say of its data, adds to the latter, and returns a
:class:`TrainingData`. ``lab/photographs`` makes the shipped models this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from mutualformer.runtime.sources.frame import Frames
    from mutualformer.train.fitting.batches.sod_batches import BatchSource
    from mutualformer.train.fitting.config import FitConfig
    from mutualformer.train.fitting.recipes import Recipe
    from mutualformer.train.fitting.schedule import Schedule
    from mutualformer.train.fitting.task import TrainingTask
    from mutualformer.train.fitting.validation import Validation


@dataclass(frozen=True)
class TrainingData:
    """What one run trains on and is scored on.

    ``facts`` and ``prints`` (fingerprints of the training frames) go to the card. ``held_out``: frames kept out of
    training, to score the model with. ``validation``: what scores the model while it trains, None = nothing does.
    ``task``: makes the training task, where the data need a loss of their own. ``parents``: role → model that the
    result also derives from, such as {"taught by": "sod-lite"}.
    """

    source: BatchSource
    facts: dict[str, Any]
    held_out: Frames | None = None
    validation: Validation | None = None
    prints: str = ""
    task: Callable[[nn.Module, Recipe, Schedule], TrainingTask] | None = None
    parents: Mapping[str, str] = field(default_factory=dict)


Opener = Callable[["FitConfig", dict[str, Any]], TrainingData]
KINDS: dict[str, Opener] = {}


def register(kind: str, opened: Opener) -> None:
    """Let ``fit`` take DATA of the form ``kind:TARGET?OPTION=VALUE``; ``kind`` is one of the address grammar's."""
    KINDS[kind] = opened
