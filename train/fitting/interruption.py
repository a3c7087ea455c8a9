"""Ctrl-C and SIGTERM finish the step in progress, save its state, and end the run with 128 + the signal's number."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST = "last.ckpt"


class Interrupted(Exception):
    """Training ended by ``signum`` at ``step``, with its state in ``path``."""

    def __init__(self, signum: int, step: int, path: Path) -> None:
        super().__init__(f"interrupted at step {step}, its state is in {path}; continue with --resume")
        self.signum, self.step, self.path = signum, step, path

    @property
    def exit_code(self) -> int:
        """The exit status of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


class Save(Callback):
    """Writes ``last.ckpt`` every ``every`` steps and after a signal; a second signal ends the run at once.

    It writes a temporary file and renames it, so a kill at any moment leaves a whole file.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.saved, self.signum = 0, 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Replace Lightning's handlers, under which Ctrl-C ends without saving and SIGTERM ends with success."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def restore_handlers(self) -> None:
        """Put back the signal handlers that were there before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signum:  # the second signal
            self.restore_handlers()
            raise KeyboardInterrupt
        self.signum = number
        if os.environ.get("RANK", "0") == "0":
            print("\nsaving after this step; a second signal ends at once", file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save after every ``every`` steps; after a signal save and stop, all processes at the same step."""
        stop = trainer.strategy.reduce_boolean_decision(bool(self.signum), all=False)
        if trainer.global_step % self.every == 0 or stop:
            self.save(trainer)
        if stop:
            self.signum = self.signum or signal.SIGTERM  # processes that got no signal end with the same exit code
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the last step too: a finished run can be made longer."""
        if trainer.global_step and trainer.global_step != self.saved:
            self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Write the state of ``trainer`` now."""
        self.saved = trainer.global_step
        temporary = self.folder / f".{LAST}.part"
        trainer.save_checkpoint(temporary, weights_only=False)  # the optimiser too
        if trainer.is_global_zero:
            os.replace(temporary, self.folder / LAST)
