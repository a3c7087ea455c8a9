"""``photo:ROOT`` as training data: photographs, sensor frames and rendered scenes. Importing this registers it.

Options: ``teacher=DIR``, soft maps NAME.png of the sensor frames; ``rendered=N``, the number of rendered scenes;
``distil=MODEL``, a detector whose maps and colour features the trained one learns beside the true masks. Without
``--init`` the student begins with those of the teacher's tensors that fit.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

from torch import nn

from lab.photographs.batches import PhotoBatches
from lab.photographs.best import Best
from lab.photographs.sets import PhotoRoot
from lab.photographs.teacher import TaughtSodTask, begin_as, open_teacher
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.grammar import parse
from mutualformer.train.evaluation.seen import prints
from mutualformer.train.fitting import kinds
from mutualformer.train.fitting.config import FitConfig
from mutualformer.train.fitting.kinds import TrainingData
from mutualformer.train.fitting.preparation.ready import LEAST_VALIDATIONS, check_masks, file_list
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.schedule import Schedule

KIND = "photo"
OPTIONS = {"teacher", "rendered", "distil"}
log = logging.getLogger("mutualformer")


def open_photographs(config: FitConfig, facts: dict[str, Any]) -> TrainingData:
    """DATA of the form ``photo:ROOT?…``. Raises DataError, FitError."""
    address = parse(config.data)
    options = address.options
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise DataError(f"data {config.data!r}: unknown option {', '.join(unknown)}, expected {', '.join(OPTIONS)}")
    photo = PhotoRoot(address.target, options.get("teacher"))
    check_masks(photo.train, config.data)
    count = options.get("rendered", "300")
    rendered = opening.frames(f"synthetic:{count}?seed=1", (320, 320), cache=True) if count != "0" else None
    facts |= {"samples": len(photo.train), "files_sha256": file_list(photo.train)}
    facts["rendered_scenes"] = len(rendered or ())
    if photo.sensor is not None:
        facts |= {"sensor_frames": len(photo.sensor), "sensor_files_sha256": file_list(photo.sensor)}
    taught = photo.sensor if "teacher" in options else None
    if photo.sensor is not None and taught is None:
        log.warning("%s: the sensor frames are left out, because they have no masks; give ?teacher=MAPS", config.data)
    source = PhotoBatches(photo.train, taught, rendered, config.recipe, config.seed)
    validation, teacher = None, options.get("distil")
    if os.environ.get("RANK", "0") == "0" and photo.validation is not None and config.validate_every > 0:
        every = min(config.validate_every, max(config.recipe.steps // LEAST_VALIDATIONS, 1))
        validation = Best(photo.validation_sets(), config.out, every)
    return TrainingData(
        source,
        facts,
        validation=validation,
        prints=prints(photo.train),
        task=partial(_taught, config, teacher) if teacher else None,
        parents={"taught by": teacher} if teacher else {},
    )


def _taught(config: FitConfig, teacher: str, model: nn.Module, recipe: Recipe, schedule: Schedule) -> TaughtSodTask:
    net = open_teacher(teacher)
    if not config.resume and not config.init:  # --init says where to begin, the teacher then only teaches
        begin_as(model, net)
    return TaughtSodTask(model, recipe, schedule, net)


kinds.register(KIND, open_photographs)
