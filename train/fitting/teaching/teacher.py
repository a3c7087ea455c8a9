"""A detector taught by a larger one of the same plan: its maps beside the true masks, its colour features, its rest.

``sod-nano`` is ``sod-lite`` with less of everything. The student starts with the teacher's tensors wherever name and
shape agree, and with the teacher's streams narrowed where they are of the same family (narrow.py). What remains to
learn is above all a colour stream that says the same at every stride:

    L = L_mask + w_map · BCE(student, teacher's map) + w_feature · Σ_strides ‖f_s − f_t‖² / Var(f_t)

(Hinton et al. 2015; Romero et al., FitNets, 2015.)
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mutualformer.train.backbone import LITE0, LITE0_NARROW, SMALL, SMALL_SHORT
from mutualformer.train.fitting.batches.sod import BatchSource
from mutualformer.train.fitting.modules.pointwise import lay_out
from mutualformer.train.fitting.preparation.start import copy_matching
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.task import SodTask
from mutualformer.train.fitting.teaching.narrow import explained, narrow_backbone, narrow_squeeze, narrow_stem

NARROW_PICTURES, NARROW_SIDE = 96, 224  # 4,700 positions even at stride 32, and 3 GB of memory at stride 2
PARTS = ((LITE0_NARROW, LITE0), (SMALL_SHORT, SMALL))  # (a student's backbone, the teacher's that it is a part of)
STREAMS = {"rgb": "colour", "depth": "depth"}  # a stream's name in the batch, and that of the module that reads it
log = logging.getLogger("mutualformer")


def inherit(student: nn.Module, teacher: nn.Module, but: tuple[str, ...] = ()) -> list[str]:
    """Copy the teacher's tensors into the student where name and shape agree; returns the names that were not there.

    ``but``: beginnings of the names of those that stay the student's own.
    """
    theirs = teacher.state_dict()
    return copy_matching(student, {k: v for k, v in theirs.items() if not k.startswith(but)})


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
    frames = source.make(0, range(NARROW_PICTURES), NARROW_SIDE)
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


def _computes_bfloat16() -> bool:
    """This machine multiplies bfloat16 in hardware; where it does not, float32 is as fast and more exact."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.9 does not tell
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class TaughtSodTask(SodTask):
    """As SodTask with a frozen ``teacher`` (a SalientObjectDetector with as many squeezed channels).

    The teacher computes in bfloat16 where the machine has it: half of its time, and what it says is a lesson of two
    digits, not a reference.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule, teacher: nn.Module) -> None:
        super().__init__(model, recipe, schedule)
        widths = [[layer[0].out_channels for layer in net.rgb_squeeze] for net in (model, teacher)]  # type: ignore[union-attr, index]
        if widths[0] != widths[1]:
            raise ValueError(f"teacher's colour features have {widths[1]} channels, the model's {widths[0]}")
        # Kept out of the module tree: it is no part of the checkpoint, the optimiser or the average.
        self._teacher = [lay_out(teacher.eval().requires_grad_(False))]
        self._half = _computes_bfloat16()
        self._features: dict[str, list[Tensor]] = {"student": [], "teacher": []}
        for name, net in (("student", model), ("teacher", teacher)):
            for layer in net.rgb_squeeze:  # type: ignore[union-attr]
                layer.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._features[name].append(output)

        return hook

    def on_train_start(self) -> None:
        """As every task; the teacher, no part of the module, goes where the model is."""
        self._teacher[0].to(self.device)
        super().on_train_start()

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "loss" and its parts "mask", "map", "feature"."""
        for features in self._features.values():
            features.clear()
        teacher, device = self._teacher[0], batch["rgb"].device.type
        # Where it has none the trainer's own precision stays in force.
        half = torch.autocast(device, torch.bfloat16) if self._half else contextlib.nullcontext()
        with torch.no_grad(), half:
            soft = teacher(batch["rgb"], batch["depth"])
        logits = self.model(batch["rgb"], batch["depth"])
        mask = self.supervised(logits, batch).sum()
        close = F.binary_cross_entropy_with_logits(logits[0], soft.to(logits[0]))
        student = self._features["student"]
        whole = [maps.to(student[0].dtype) for maps in self._features["teacher"]]
        feature = torch.stack(
            [
                ((ours - theirs) ** 2 / (theirs.var(dim=(0, 2, 3), keepdim=True) + 1e-3)).mean()
                for ours, theirs in zip(student, whole, strict=True)
            ]
        ).mean()
        weights = self.recipe.losses
        total = mask + weights.teacher_map * close + weights.teacher_features * feature
        return {"loss": total, "mask": mask.detach(), "map": close.detach(), "feature": feature.detach()}
