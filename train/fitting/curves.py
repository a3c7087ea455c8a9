"""What a run did, step by step: ``OUT/curves.jsonl``, TensorBoard, and ``OUT/curves.png`` when it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mutualformer.plugins.files import parse_json

LINES, PICTURE, SCORES = "curves.jsonl", "curves.png", "validation.jsonl"
EVERY = 10  # steps between two lines


class Curves(Callback):
    """Losses by part, the learning rates of the backbones and of the rest, and seconds a step; process 0 alone."""

    def __init__(self, out: Path) -> None:
        self.out, self.last, self.since = out, -1, (0, time.monotonic())

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the time from here."""
        self.since = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write a line every :data:`EVERY` steps."""
        step = trainer.global_step
        if not trainer.is_global_zero or step == self.last or step % EVERY:
            return
        self.last = step
        groups = trainer.optimizers[0].param_groups
        rates = sorted({float(group["lr"]) for group in groups})
        steps, seconds = step - self.since[0], time.monotonic() - self.since[1]
        self.since = step, time.monotonic()
        line = {name: round(float(v), 5) for name, v in trainer.callback_metrics.items() if isinstance(v, Tensor)}
        line |= {"rate": rates[-1], "rate_backbones": rates[0], "seconds_a_step": round(seconds / max(steps, 1), 3)}
        with (self.out / LINES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **line}) + "\n")
        board = getattr(trainer.logger, "experiment", None)
        if board is not None:
            for name in ("rate", "rate_backbones", "seconds_a_step"):
                board.add_scalar(name, line[name], step)


def _lines(path: Path) -> list[dict[str, Any]]:
    """By step; of a step that a resumed run took again the later line."""
    if not path.is_file():
        return []
    read = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({line["step"]: line for line in sorted(read, key=lambda line: line["step"])}.values())


def draw(out: Path) -> Path | None:
    """``OUT/curves.png`` of the lines in ``out``; None where there are none, or no matplotlib."""
    lines, scores = _lines(out / LINES), _lines(out / SCORES)
    if not lines:
        return None
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates, metrics = figure.subplots(1, 3)
    steps = [line["step"] for line in lines]
    named = [name for name in lines[-1] if name not in ("step", "rate", "rate_backbones", "seconds_a_step", "epoch")]
    for name in named:
        losses.plot(steps, [line.get(name) for line in lines], label=name)
    for name in ("rate", "rate_backbones"):
        rates.plot(steps, [line[name] for line in lines], label=name)
    for name in sorted({key for line in scores for key, value in line.items() if isinstance(value, dict)}):
        at = [line["step"] for line in scores if name in line]
        metrics.plot(at, [line[name]["s_measure"] for line in scores if name in line], marker="o", label=name)
    for axes, title in ((losses, "losses"), (rates, "learning rate"), (metrics, "S-measure in validation")):
        axes.set_title(title)
        axes.set_xlabel("step")
        if axes.lines:
            axes.legend(fontsize="small")
    path = out / PICTURE
    figure.savefig(path, dpi=100)
    return path
