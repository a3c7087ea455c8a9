"""Validation while a detector trains: curves and pictures in TensorBoard, the best weights kept.

What is scored are the averaged weights, those that would be shipped, at the size the model is used at.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import nn

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import write_bytes, write_json
from mutualformer.runtime.images.rendering import png
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.sources.frame import Frames
from mutualformer.runtime.untrusted.typed_json import read_json
from mutualformer.train import checkpoint
from mutualformer.train.evaluation.maps import sod_metrics
from mutualformer.train.fitting.modules.pointwise import use_convolutions
from mutualformer.train.fitting.task import TrainingTask
from mutualformer.train.registry import spec_of

SHOWN = 4  # frames of every set whose maps become pictures
BEST = "best.safetensors"
SCORE = "best.json.score"
SHEET = "validation.png"


class Validation(Callback):
    """Scores ``sets`` (name → frames with masks) every ``every`` steps and after the last one.

    ``choose``: keep the best weights; a run that is judged by these sets when it is over may not choose by them.
    The score by which the best weights are chosen is the mean S-measure over the sets. ``OUT/best.safetensors`` holds
    them, ``OUT/validation.jsonl`` one line a validation, ``OUT/validation.png`` picture, truth and map of a few.
    """

    def __init__(self, sets: Mapping[str, Frames], out: Path, every: int, choose: bool = True) -> None:
        self.sets, self.out, self.every, self.choose = sets, out, every, choose
        self.best, self.last_step = best_so_far(out)[0], -1

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Validate every ``every`` steps and after the last, in process 0 alone."""
        step = trainer.global_step
        last = step >= pl_module.recipe.steps
        if step and step != self.last_step and (step % self.every == 0 or last) and trainer.is_global_zero:
            self.last_step = step
            assert isinstance(pl_module, TrainingTask)
            self.validate(averaged(pl_module), step, getattr(trainer.logger, "experiment", None))

    def validate(self, model: nn.Module, step: int, board: Any = None) -> float:
        """Score ``model`` (eval mode), log, keep it if it is the best so far; returns the score."""
        results: dict[str, Any] = {}
        sheet: list[NDArray[np.uint8]] = []
        for name, frames in self.sets.items():
            metrics, pictures = scored(model, frames)
            results[name] = metrics
            sheet += pictures
            if board is not None:
                for metric in ("s_measure", "max_f", "mae"):
                    board.add_scalar(f"{name}/{metric}", metrics[metric], step)
                board.add_image(f"{name}/maps", np.concatenate(pictures), step, dataformats="HWC")
        score = float(np.mean([metrics["s_measure"] for metrics in results.values()]))
        with (self.out / "validation.jsonl").open("a", encoding="utf-8") as stream:
            brief = {n: {k: round(m[k], 4) for k in ("s_measure", "max_f", "mae")} for n, m in results.items()}
            stream.write(json.dumps({"step": step, "score": round(score, 5), **brief}) + "\n")
        write_bytes(self.out / SHEET, png(np.concatenate(sheet)))
        if self.choose and score > self.best:
            self.best = score
            checkpoint.save(self.out / BEST, model, {"metrics": results, "step": step})
            write_json(self.out / SCORE, {"score": score, "step": step})
        return score


def best_so_far(out: Path) -> tuple[float, int]:
    """Score and step of the best validation in the folder of a run, (-1, -1) before the first."""
    path = out / SCORE
    if not path.is_file():
        return -1.0, -1
    kept = read_json(path, ValueError, "score of a validation")
    return kept.number("score", -1, 1), kept.whole("step", 0, 1 << 40)


def averaged(task: TrainingTask) -> nn.Module:
    """A copy of the model with the averaged weights, in eval mode, as it will be shipped."""
    model = copy.deepcopy(task.model)
    if task.average is not None:
        model.load_state_dict(task.average.state)
    use_convolutions(model)
    return model.eval()


@torch.inference_mode()
def scored(model: nn.Module, frames: Frames) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """Metrics of ``model`` on ``frames`` and rows (H, 3·W, 3) of picture, truth and map of the first few."""
    spec = spec_of(model)
    contract = Contract(spec.task, spec.name, spec.input_size, depth_range_m=spec.depth_range_m, labels=spec.labels)
    device = next(model.parameters()).device
    rows: list[NDArray[np.uint8]] = []
    pairs = []
    for index in range(len(frames)):
        item = frames[index]
        if item.mask is None:
            raise ValueError(f"{item.name}: has no ground truth, expected masks to validate with")
        inputs = prepare(contract, item.rgb, item.depth)
        saliency = model(*(torch.from_numpy(value).to(device) for value in inputs.values())).float().cpu().numpy()
        grey = (np.clip(restore(saliency[0], item.mask.shape), 0, 1) * 255 + 0.5).astype(np.uint8)
        pairs.append((grey, item.mask))
        if index < SHOWN:
            small = inputs["rgb"][0]
            size = small.shape[1::-1]
            truth = cv2.resize(item.mask, size, interpolation=cv2.INTER_AREA)
            answer = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            rows.append(np.hstack([small, *(np.repeat(x[..., None], 3, axis=2) for x in (truth, answer))]))
    return sod_metrics(pairs), rows
