"""Validation while a detector trains: scores and maps go to TensorBoard, ``validation.jsonl`` and ``validation.png``.

The averaged weights are scored, since they are the ones that the run saves, at the model's own input size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import nn

from mutualformer.runtime.files import write_bytes
from mutualformer.runtime.images.rendering import png
from mutualformer.runtime.sources.frame import Frames, Item
from mutualformer.train.evaluation.maps import predict_maps, sod_metrics, to_grey
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting.task import TrainingTask

SHOWN = 4  # frames of every set whose maps become pictures
SHEET_WIDTH = 320  # pixels of a picture on the sheet
LINES, SHEET = "validation.jsonl", "validation.png"
METRICS = ("s_measure", "max_f", "mae")


class Validation(Callback):
    """Scores ``sets`` (name → frames with masks) every ``every`` steps and after the last one, in process 0.

    ``OUT/validation.jsonl`` gets a line each time, ``OUT/validation.png`` shows picture, truth and map of a few frames.
    """

    def __init__(self, sets: Mapping[str, Frames | Sequence[Item]], out: Path, every: int) -> None:
        self.sets, self.out, self.every = sets, out, every

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Validate every ``every`` steps and after the last."""
        step = trainer.global_step
        if (step % self.every == 0 or step >= pl_module.recipe.steps) and trainer.is_global_zero:
            assert isinstance(pl_module, TrainingTask)
            self.validate(pl_module.averaged(), step, getattr(trainer.logger, "experiment", None))

    def validate(self, model: nn.Module, step: int, board: Any = None) -> dict[str, dict[str, Any]]:
        """Score ``model`` (in eval mode) and write the scores down; returns the metrics of every set."""
        results: dict[str, dict[str, Any]] = {}
        sheet: list[NDArray[np.uint8]] = []
        for name, frames in self.sets.items():
            results[name], rows = scored(model, frames)
            sheet += rows
            if board is not None:
                for metric in METRICS:
                    board.add_scalar(f"{name}/{metric}", results[name][metric], step)
                board.add_image(f"{name}/maps", np.concatenate(rows), step, dataformats="HWC")
        brief = {name: {metric: round(found[metric], 4) for metric in METRICS} for name, found in results.items()}
        with (self.out / LINES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "score": round(score_of(results), 5), **brief}) + "\n")
        write_bytes(self.out / SHEET, png(np.concatenate(sheet)))
        return results

    def conclude(self, model: nn.Module, facts: dict[str, Any]) -> dict[str, Any]:
        """Called with the trained model before it is saved: metrics for its card. Here none, and nothing changes."""
        return {}


def score_of(results: Mapping[str, Mapping[str, Any]]) -> float:
    """One number for a validation: the mean S-measure over the sets."""
    return float(np.mean([found["s_measure"] for found in results.values()]))


def scored(model: nn.Module, frames: Frames | Sequence[Item]) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """Metrics of ``model`` on ``frames`` and rows (h, 3·320, 3) of picture, truth and map of the first few."""
    rows: list[NDArray[np.uint8]] = []
    pairs = []
    for item, saliency in predict_maps(ModuleSession(model), frames):
        if item.mask is None:
            raise ValueError(f"{item.name}: has no ground truth, expected masks to validate with")
        grey = to_grey(saliency)
        pairs.append((grey, item.mask))
        if len(rows) < SHOWN:
            size = (SHEET_WIDTH, round(SHEET_WIDTH * item.rgb.shape[0] / item.rgb.shape[1]))
            maps = [cv2.cvtColor(one, cv2.COLOR_GRAY2RGB) for one in (item.mask, grey)]
            rows.append(np.hstack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (item.rgb, *maps)]))
    return sod_metrics(pairs), rows
