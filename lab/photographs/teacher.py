"""A detector taught by a larger one of the same plan: its maps beside the true masks, its colour features, its rest.

``sod-nano`` is ``sod-lite`` with less of everything. The student starts with the teacher's tensors wherever name and
shape agree. What remains to learn is above all a colour stream that says the same at every stride:

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

from mutualformer.runtime import zoo
from mutualformer.train import checkpoint
from mutualformer.train.backbone import LITE0, LITE0_NARROW, SMALL, SMALL_SHORT
from mutualformer.train.fitting.config import FitError
from mutualformer.train.fitting.modules.pointwise import lay_out
from mutualformer.train.fitting.preparation.start import copy_matching
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.task import SodTask

PARTS = ((LITE0_NARROW, LITE0), (SMALL_SHORT, SMALL))  # (a student's backbone, the teacher's that it is a part of)
STREAMS = ("rgb", "depth")
log = logging.getLogger("mutualformer")


def inherit(student: nn.Module, teacher: nn.Module, but: tuple[str, ...] = ()) -> list[str]:
    """Copy the teacher's tensors into the student where name and shape agree; returns the names that were not there.

    ``but``: beginnings of the names of those that stay the student's own.
    """
    theirs = teacher.state_dict()
    return copy_matching(student, {k: v for k, v in theirs.items() if not k.startswith(but)})


def begin_as(student: Any, teacher: Any) -> None:
    """Begin ``student`` with the teacher's tensors as far as they fit; one line of the log says how far.

    A stream of another family keeps its own: tensors of equal name and shape mean something else there.
    """
    streams = [f"{stream}_backbone" for stream in STREAMS]
    ours, theirs = student.spec.architecture, teacher.spec.architecture
    strange = [s for s in streams if ours[s] != theirs[s] and (ours[s], theirs[s]) not in PARTS]
    own = inherit(student, teacher, but=tuple(f"{stream}." for stream in strange))
    total = len(student.state_dict())
    log.warning("%s: %d of %d tensors begin as the teacher's", student.spec.name, total - len(own), total)


def open_teacher(name: str) -> nn.Module:
    """A detector in eval mode. Raises CheckpointError, FitError."""
    teacher = checkpoint.load(zoo.weights(name))
    if teacher.spec.task != "sod":
        raise FitError(f"{name}: is a {teacher.spec.task} model, expected a detector as the teacher")
    return teacher


def _computes_bfloat16() -> bool:
    """This machine multiplies bfloat16 in hardware; where it does not, float32 is as fast and more exact."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # since PyTorch 2.9
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
