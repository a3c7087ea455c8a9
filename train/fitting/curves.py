"""Losses and learning rates step by step: ``OUT/curves.jsonl`` while a run trains, ``OUT/curves.png`` when it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mutualformer.plugins.files import parse_json
from mutualformer.runtime.reporting import charts
from mutualformer.train.fitting import validation

LINES, PICTURE = "curves.jsonl", "curves.png"
RATES, SECONDS = ("rate", "rate_backbones"), "seconds_a_step"
EVERY = 10  # steps between two lines


class Curves(Callback):
    """Writes the parts of the loss, the learning rates of the backbones and of the rest, and seconds a step."""

    def __init__(self, out: Path) -> None:
        self.out, self.last, self.began = out, 0, time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count steps and seconds from here."""
        self.last, self.began = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write a line every :data:`EVERY` steps."""
        step = trainer.global_step
        if step % EVERY:
            return
        rates = sorted(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
        seconds = (time.monotonic() - self.began) / (step - self.last)
        self.last, self.began = step, time.monotonic()
        measured = {"rate": rates[-1], "rate_backbones": rates[0], SECONDS: round(seconds, 3)}
        losses = {name: round(float(v), 5) for name, v in trainer.callback_metrics.items() if isinstance(v, Tensor)}
        with (self.out / LINES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **losses, **measured}) + "\n")
        if trainer.logger is not None:
            trainer.logger.log_metrics(measured, step)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines by step; a step that a resumed run took again keeps its later line."""
    if not path.is_file():
        return []
    read = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for _, line in sorted({line["step"]: line for line in read}.items())]


def draw(out: Path) -> None:
    """Write ``OUT/curves.png`` from the lines in ``out``; nothing where there are none, or no matplotlib."""
    lines, scores = _lines(out / LINES), _lines(out / validation.LINES)
    if not lines or not charts.available():
        return
    figure, panels = charts.panels(3 if scores else 2, 12, 4)  # a run without validation has no curve of scores
    steps = [line["step"] for line in lines]
    for name in lines[-1]:
        if name not in ("step", "epoch", SECONDS):
            panels[name in RATES].plot(steps, [line.get(name) for line in lines], label=name)
    for name in [key for key, value in (scores[-1] if scores else {}).items() if isinstance(value, dict)]:
        found = [(line["step"], line[name]["s_measure"]) for line in scores if name in line]
        panels[2].plot(*zip(*found, strict=True), marker="o", label=name)
    for axes, title in zip(panels, ("losses", "learning rate", "S-measure in validation"), strict=False):
        axes.set_title(title)
        axes.set_xlabel("step")
        if axes.lines:
            axes.legend(fontsize="small")
    charts.save(figure, out / PICTURE, dpi=100)
