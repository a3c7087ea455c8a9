"""Begin a student as its teacher, with the teacher's streams narrowed where the student's are parts of them."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from lab.narrow.solve import explained, narrow_backbone, narrow_squeeze, narrow_stem
from lab.photographs.teacher import PARTS, inherit
from mutualformer.train.fitting.batches.sod_batches import BatchSource

PICTURES, SIDE = 96, 224  # 4,700 positions even at stride 32, and 3 GB of memory at stride 2
STREAMS = {"rgb": "colour", "depth": "depth"}  # a stream's name in the batch, and that of the module that reads it
log = logging.getLogger("mutualformer")


def _backbones(student: Any, teacher: Any, stream: str) -> tuple[str, str]:
    key = f"{stream}_backbone"
    return student.spec.architecture[key], teacher.spec.architecture[key]


@torch.no_grad()
def begin_as(student: Any, teacher: Any, source: BatchSource) -> None:
    """Begin ``student`` as ``teacher`` as far as it goes; one line of the log says how far.

    ``source``: where the frames come from on which is solved for what a part of a stream can say of the whole.
    """
    backbones = {stream: _backbones(student, teacher, stream) for stream in STREAMS}
    # Tensors of another family that happen to have a name and a shape in common mean something else there.
    strange = [stream for stream, (ours, theirs) in backbones.items() if ours != theirs and (ours, theirs) not in PARTS]
    own = inherit(student, teacher, but=tuple(f"{stream}_backbone." for stream in strange))
    total = len(student.state_dict())
    log.warning("%s: %d of %d tensors begin as the teacher's", student.spec.name, total - len(own), total)
    parts = [stream for stream in STREAMS if backbones[stream] in PARTS]
    if not parts:
        return
    frames = source.make(0, range(PICTURES), SIDE)
    for stream in parts:
        x = getattr(student, f"{STREAMS[stream]}_input")(torch.from_numpy(frames[stream]))
        maps = _begin_stream(student, teacher, stream, x)
        squeezes = (getattr(model, f"{stream}_squeeze") for model in (student, teacher))
        for ours, theirs, pair in zip(*squeezes, maps, strict=True):
            if ours[0].weight.shape != theirs[0].weight.shape:
                narrow_squeeze(ours, theirs, pair)


def _begin_stream(student: Any, teacher: Any, stream: str, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(student's, teacher's) maps of ``x`` at every stride; the stream, or the stem of depth, is narrowed from the
    teacher's before."""
    ours, theirs = (getattr(model, f"{stream}_backbone") for model in (student, teacher))
    if stream == "rgb":
        maps = narrow_backbone(ours, theirs, x)
        log.warning(
            "%s: colour stream narrowed from the teacher's on %d pictures; variance kept at strides 4, 8, 16: %s",
            student.spec.name,
            len(x),
            ", ".join(f"{explained(a, b):.2f}" for a, b in maps if a.shape == b.shape),
        )
        return maps
    training = ours.training
    ours.eval(), theirs.eval()
    narrow_stem(ours, theirs, x)
    maps = list(zip(ours(x), theirs(x), strict=True))
    ours.train(training)
    return maps
