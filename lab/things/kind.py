"""``photo:ROOT`` as training data of things: the objects of ROOT/duts_tr. Importing this registers it with ``fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.photographs.photographs import Photographs
from lab.photographs.sets import TRAIN
from lab.things.batches import ThingBatches
from lab.things.infrared import SIMULATED
from lab.things.memory import ThingsTask
from mutualformer.runtime.sources.grammar import parse
from mutualformer.train.evaluation.seen import prints
from mutualformer.train.fitting import kinds
from mutualformer.train.fitting.config import FitConfig
from mutualformer.train.fitting.kinds import TrainingData
from mutualformer.train.fitting.preparation.ready import file_list

KIND = "photo"  # a kind that the grammar of addresses knows


def open_things(config: FitConfig, facts: dict[str, Any]) -> TrainingData:
    """DATA of the form ``photo:ROOT``. Raises DataError."""
    photographs = Photographs(Path(parse(config.data).target) / TRAIN)
    facts |= {
        "samples": len(photographs),
        "identities": "one object of each photograph, in views drawn at random",
        "near-infrared": SIMULATED,
        "files_sha256": file_list(photographs),
    }
    source = ThingBatches(photographs, config.recipe, config.seed)
    return TrainingData(source, facts, prints=prints(photographs), task=ThingsTask)


kinds.register(KIND, open_things)
