"""One training step of either task: optimiser, learning rates, averaged weights, and the state of an exact resume."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mutualformer.train.fitting.losses import deep_supervision_losses
from mutualformer.train.fitting.modules.pointwise import use_convolutions
from mutualformer.train.fitting.recipes import Recipe
from mutualformer.train.fitting.schedule import Schedule


class Average:
    """Exponential moving average of a module's floating-point state; the rest (counters) is copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model``'s state; the decay grows with ``step`` up to :attr:`decay`."""
        decay = min(self.decay, (1 + step) / (10 + step))  # short memory at first: forget the start soon
        ours, theirs = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                ours.append(self.state[name])
                theirs.append(value.detach())
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(ours, theirs, 1 - decay)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, f"{pattern}*") for pattern in patterns)


def freeze(model: nn.Module, patterns: Sequence[str], frozen: bool = True) -> list[nn.Module]:
    """Stop (or, with ``frozen`` False, resume) the learning of parameters whose names begin with one of ``patterns``.

    Returns their batch norms, which keep their pretrained statistics as long as they stay in eval mode. Raises
    ValueError for a pattern that matches nothing.
    """
    named = list(model.named_parameters())
    for pattern in patterns:
        if not any(_named(name, (pattern,)) for name, _ in named):
            raise ValueError(f"freeze is {pattern!r}, expected the beginning of a parameter's name")
    for name, parameter in named:
        if _named(name, patterns):
            parameter.requires_grad_(not frozen)
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and _named(f"{name}.", patterns)
    ]


class TrainingTask(lightning.LightningModule):
    """Trains ``model`` under ``recipe``; a subclass defines the loss."""

    def __init__(self, model: nn.Module, recipe: Recipe, schedule: Schedule) -> None:
        super().__init__()
        self.model, self.recipe, self.schedule = model, recipe, schedule
        # With a thaw later on, freezing waits for on_train_start (see there).
        self.frozen: list[nn.Module] = []
        if recipe.thaw >= 1.0:
            self.frozen = freeze(model, recipe.freeze)
        self.kept_norms = [m for m in model.modules() if isinstance(m, _BatchNorm)] if recipe.keep_norms else []
        self.start = [p.detach().clone() for p in model.parameters()] if recipe.pull else []
        self.average = Average(model, recipe.ema) if recipe.ema else None
        self.stepped = 0  # optimiser steps that are in the average

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named losses of a batch; "loss" is what is minimised."""
        raise NotImplementedError

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weight matrices and kernels decay, biases and norms do not; backbones have their own rate.

        Frozen parameters are among them, without gradients: a state from before the thaw can be resumed after it.
        """
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        # Groups by (backbone, decays): a vector is a bias or a norm's scale, which weight decay would pull to zero.
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad or self.recipe.thaw < 1.0:
                key = _named(name, self.recipe.backbones), parameter.dim() > 1
                groups.setdefault(key, []).append(parameter)
        listed = []
        for (backbone, decays), parameters in groups.items():
            rate = self.recipe.learning_rate * (self.recipe.backbone_lr if backbone else 1.0)
            decay = self.recipe.weight_decay if decays and not self.recipe.pull else 0.0
            listed.append({"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay})
        if self.recipe.optimizer == "sgd":
            return torch.optim.SGD(listed, momentum=0.9, nesterov=True)
        if self.recipe.optimizer != "adamw":
            raise ValueError(f"optimizer is {self.recipe.optimizer!r}, expected adamw or sgd")
        return torch.optim.AdamW(listed, betas=(0.9, 0.99))

    def train(self, mode: bool = True) -> TrainingTask:
        """As any module; frozen batch norms stay in eval mode."""
        super().train(mode)
        for norm in (*self.frozen, *self.kept_norms):
            norm.eval()
        return self

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> int | None:
        """Set the learning rates of this step; −1, which ends the epoch, when the schedule is over."""
        progress = self.schedule.progress(self.global_step)
        if self.recipe.minutes and self.trainer.world_size > 1:  # one clock, or processes end at different steps
            progress = float(self.trainer.strategy.broadcast(progress))
        if progress >= 1.0:
            self.trainer.should_stop = True
            return -1
        if self.frozen and progress >= self.recipe.thaw:
            freeze(self.model, self.recipe.freeze, frozen=False)
            self.frozen = []
            self.train()
        rate = self.schedule.rate(progress)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = group["peak"] * rate
        if self.recipe.pull:
            with torch.no_grad():
                strength = self.recipe.learning_rate * rate * self.recipe.pull
                torch._foreach_lerp_(list(self.model.parameters()), self.start, strength)
        return None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Log every part of :meth:`losses` and return "loss"."""
        losses = self.losses(batch)
        self.log_dict(losses, prog_bar=True, batch_size=len(batch["rgb"]))
        return losses["loss"]

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Let the averaged weights follow the step just taken."""
        self._follow()

    def _follow(self) -> None:
        """Take the step just made into the average, once."""
        if self.average is not None and self.global_step > self.stepped:
            self.stepped = self.global_step
            self.average.update(self.model, self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs: random state, steps seen and averaged weights."""
        self._follow()  # callbacks that save run before on_train_batch_end
        checkpoint["rng"] = torch.get_rng_state()
        checkpoint["stepped"] = self.stepped
        if self.average is not None:
            checkpoint["average"] = self.average.state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights back; the random state is set when training starts."""
        self.stepped = int(checkpoint["stepped"])
        if self.average is not None:
            for name, value in checkpoint["average"].items():
                self.average.state[name].copy_(value)
        self._rng = checkpoint["rng"]

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Weights and average of a Lightning checkpoint, without a trainer."""
        self.load_state_dict(checkpoint["state_dict"])
        self.on_load_checkpoint(checkpoint)

    def on_train_start(self) -> None:
        """Freeze, move the averaged weights to the model's device and set the random state of a resumed run.

        What will thaw is frozen only now: processes exchange the gradients of what could learn when they met.
        """
        if self.schedule.progress(self.global_step) < self.recipe.thaw < 1.0:
            self.frozen = freeze(self.model, self.recipe.freeze)
        self.train()  # Lightning leaves every module in the mode it was in
        self.start = [value.to(p) for value, p in zip(self.start, self.model.parameters(), strict=False)]
        if self.average is not None:
            ours = self.model.state_dict()  # by now on its device and in the trainer's precision
            self.average.state = {name: value.to(ours[name]) for name, value in self.average.state.items()}
        if hasattr(self, "_rng"):  # only now: setting the loop up draws random numbers too
            torch.set_rng_state(self._rng.cpu())

    def averaged(self) -> nn.Module:
        """A copy of the model with the averaged weights, where there are any, in eval mode."""
        model = copy.deepcopy(self.model)
        if self.average is not None:
            model.load_state_dict(self.average.state)
        use_convolutions(model)
        return model.eval()


class SodTask(TrainingTask):
    """Detector: ``rgb`` uint8 (B, H, W, 3), ``depth`` float32 (B, H, W), ``mask`` uint8 (B, H, W) 0 … 255.

    ``certain`` uint8 (B, H, W) 0 or 1, where a batch has it: whether the mask is known there.
    """

    def supervised(self, logits: list[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """(BCE, IoU loss) of the decoder's outputs, deeply supervised, against the batch's masks."""
        dtype = torch.promote_types(logits[0].dtype, torch.float32)
        certain = batch["certain"].to(dtype) if "certain" in batch else None
        return deep_supervision_losses(logits, batch["mask"].to(dtype) / 255.0, certain, self.recipe.losses)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "loss" and its parts "bce" and "iou"."""
        bce, iou = self.supervised(self.model(batch["rgb"], batch["depth"]), batch)
        return {"loss": bce + iou, "bce": bce.detach(), "iou": iou.detach()}
