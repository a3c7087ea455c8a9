"""That arms differ in the operator alone, seen while they train: the same first weights, the same batch at every step.

Every run leaves OUT/first_weights.sha256 and OUT/batches.crc32 (a line "STEP CRC" for every batch it was given).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from lab.ablation.runs import Run
from mutualformer.runtime.files import write_bytes
from mutualformer.train.fitting.config import FitError

WEIGHTS, BATCHES = "first_weights.sha256", "batches.crc32"


class Witness(Callback):
    """Writes down what the run in ``folder`` begins with and is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.step, self.crc = -1, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Note the first weights, and begin the list of batches."""
        if trainer.global_step == 0:  # not where a run is gone on with
            write_bytes(self.folder / WEIGHTS, f"{fingerprint(pl_module.model)}\n".encode())
            write_bytes(self.folder / BATCHES, b"")

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note the batch."""
        step = trainer.global_step
        self.crc = checksum(batch, self.crc if step == self.step else 0)  # parts of one accumulated batch go on
        self.step = step
        with (self.folder / BATCHES).open("a", encoding="ascii") as lines:
            lines.write(f"{step} {self.crc:08x}\n")


def fingerprint(model: nn.Module) -> str:
    """sha256 over names and values of the model's state."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def checksum(batch: dict[str, Tensor], start: int = 0) -> int:
    """crc32 over the arrays of ``batch``, by name."""
    for _, value in sorted(batch.items()):
        start = zlib.crc32(value.detach().cpu().contiguous().numpy().data, start)
    return start


def batches_of(folder: Path) -> dict[int, str]:
    """Step → checksum of its batch; the last word on a step counts, an interrupted run does some of them twice."""
    lines = (folder / BATCHES).read_text(encoding="ascii", errors="replace").splitlines()
    pairs = [line.split() for line in lines]
    return {int(pair[0]): pair[1] for pair in pairs if len(pair) == 2 and pair[0].isdecimal()}


def check_equal(runs: Sequence[Run]) -> bool:
    """Whether all arms of every seed began with the same weights and were given the same batches.

    Returns False where a run left no record (it was made by another program). Raises FitError where two differ.
    """
    by_seed: dict[int, Run] = {}
    for run in runs:
        out = run.config.out
        if not (out / WEIGHTS).is_file() or not (out / BATCHES).is_file():
            return False
        first = by_seed.setdefault(run.seed, run)
        theirs = first.config.out
        if (out / WEIGHTS).read_bytes() != (theirs / WEIGHTS).read_bytes():
            raise FitError(f"{run.name} and {first.name} began with different weights: they cannot be compared")
        ours, other, steps = batches_of(out), batches_of(theirs), run.config.recipe.steps
        for step in range(steps):
            if step not in ours or ours[step] != other.get(step):
                raise FitError(f"{run.name} and {first.name} had different batches at step {step}: cannot be compared")
    return True
