"""Several runs at a time, each in a process of its own with its share of the cores.

One thread a run and as many runs as cores make more steps a minute than one run on all of them: small layers do not
divide. What a run says goes to OUT/FUSION-seedS/training.log, progress of all of them is one line here.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from lab.ablation.photographs import HeldOut, scores_of
from lab.ablation.runs import Run
from lab.ablation.witness import Witness
from mutualformer.runtime.environment import variables
from mutualformer.runtime.session.threads import usable_threads
from mutualformer.train.fitting.config import FitError
from mutualformer.train.fitting.interruption import SIGNALS, Interrupted
from mutualformer.train.fitting.training import fit

LOG = "training.log"
SAID_EVERY_S, LOOK_EVERY_S = 30.0, 0.5


def finish(run: Run, held_out: HeldOut | None, watchers: Sequence[Callback] = ()) -> None:
    """Train ``run`` if it is not finished, and score it where that is on photographs. Raises what `fit` raises."""
    if not run.finished():
        fit(run.config, [Witness(run.config.out), *watchers])
    if held_out is not None:
        scores_of(run.weights, held_out)


class _Steps(Callback):
    """Tells the step to the process that started this one; saves and ends when that one is gone."""

    def __init__(self, steps: Any, parent: int) -> None:
        self.steps, self.parent = steps, parent

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.steps.value = trainer.global_step
        if os.getppid() != self.parent:
            self.parent = os.getppid()  # once: asked twice a run ends without saving
            os.kill(os.getpid(), signal.SIGTERM)


def _child(run: Run, held_out: HeldOut | None, threads: int, steps: Any, parent: int) -> None:
    """What the process of one run does; ends with its exit code."""
    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as in a run by itself
    os.setsid()  # a Ctrl-C in the terminal reaches the one who started this, and it tells us, once
    run.config.out.mkdir(parents=True, exist_ok=True)
    log = os.open(run.config.out / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    import cv2
    import torch

    from mutualformer.runtime.commandline.running import one_line, prepare_output

    prepare_output()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    try:
        finish(run, held_out, [_Steps(steps, parent)])
    except Interrupted as stop:
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        logging.getLogger("mutualformer").error(
            "%s", one_line(error), exc_info=bool(os.environ.get("MUTUALFORMER_DEBUG"))
        )
        sys.exit(1)


@dataclass
class _Job:
    """A run in its process."""

    run: Run
    process: Any
    steps: Any
    began: float

    def state(self) -> str:
        total, done = self.run.config.recipe.steps, self.steps.value
        return f"{self.run.name} {'scoring' if done >= total else f'{done}/{total}'}"


def _start(run: Run, held_out: HeldOut | None, threads: int) -> _Job:
    context = multiprocessing.get_context("spawn")  # a fork would inherit the state of OpenMP and OpenCV
    steps = context.Value("q", 0)
    process = context.Process(target=_child, args=(run, held_out, threads, steps, os.getpid()), name=run.name)
    with variables({"OMP_NUM_THREADS": str(threads)}):  # read once, when the new process starts OpenMP
        process.start()
    return _Job(run, process, steps, time.monotonic())


class _Asked:
    """Notes Ctrl-C and SIGTERM instead of dying of them; a second one ends at once."""

    def __init__(self) -> None:
        self.signum = 0

    def note(self, number: int, _: FrameType | None) -> None:
        if self.signum:
            raise KeyboardInterrupt
        self.signum = number
        print("\nthe runs save after their step; a second signal ends at once", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _asked() -> Iterator[_Asked]:
    asked = _Asked()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, asked.note) for number in SIGNALS} if main else {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def side_by_side(runs: Sequence[Run], held_out: HeldOut | None, jobs: int) -> None:
    """Finish ``runs``, ``jobs`` at a time, each with its share of the cores; ``held_out``: score them too.

    Raises FitError with the last line of its log when one fails, and Interrupted after Ctrl-C or SIGTERM; either way
    the others save first, so that the same command continues them.
    """
    threads = max(1, usable_threads() // jobs)
    waiting: list[Run] = list(runs)
    active: list[_Job] = []
    done = 0
    began, said = time.monotonic(), 0.0
    with _asked() as asked:
        try:
            while waiting or active:
                while waiting and len(active) < jobs:
                    active.append(_start(waiting.pop(0), held_out, threads))
                time.sleep(LOOK_EVERY_S)
                if asked.signum:
                    break
                for job in [job for job in active if job.process.exitcode is not None]:
                    active.remove(job)
                    if job.process.exitcode:
                        raise FitError(f"{job.run.name}: {_last_line(job.run.config.out / LOG)}")
                    done += 1
                    print(f"{job.run.name} finished, {done} of {len(runs)}", file=sys.stderr, flush=True)
                if active and time.monotonic() - said >= SAID_EVERY_S:
                    said = time.monotonic()
                    left = _minutes_left(active, waiting, done, said - began)
                    print("; ".join(job.state() for job in active) + left, file=sys.stderr, flush=True)
        finally:
            _end(active)
    if asked.signum:
        first = active[0].run.config.out if active else runs[0].config.out
        raise Interrupted(asked.signum, active[0].steps.value if active else 0, first / "checkpoints")


def _minutes_left(active: Sequence[_Job], waiting: Sequence[Run], done: int, elapsed: float) -> str:
    """Steps made so far against steps to make; "" before the first."""
    steps = [min(job.steps.value / job.run.config.recipe.steps, 1.0) for job in active]
    made = done + sum(steps)
    if made <= 0:
        return ""
    return f"; about {elapsed / made * (len(active) + len(waiting) - sum(steps)) / 60:.0f} min left"


def _end(active: Sequence[_Job]) -> None:
    """Let processes save and end."""
    for job in active:
        if job.process.is_alive():
            job.process.terminate()
    for job in active:
        job.process.join()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return f"{lines[-1]} ({log})" if lines else f"ended without a word, see {log}"
