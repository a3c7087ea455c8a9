"""Thousands of frames on this machine: read, predicted and written by a few threads, in bounded memory.

Where the model runs on the CPU, each worker thread carries one frame from file to files with a single-threaded
session. That keeps all cores busy; one session on all threads would leave them idle while pictures are decoded and
encoded. Answers do not depend on the number of workers. Where the model runs on a GPU, frames go in batches of up to
the engine's largest, and the workers read and write while it computes.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from mutualformer.runtime.files import csv_table, write_bytes
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.prediction.journal import Journal, digest
from mutualformer.runtime.prediction.unique_names import Names
from mutualformer.runtime.prediction.work import Model, Plan, Task, given, process
from mutualformer.runtime.reporting.progress import bar, beside
from mutualformer.runtime.sources.frame import Frames, Item, name_of
from mutualformer.runtime.sources.inputs import stamp

T = TypeVar("T")
NAMED = 20  # broken pictures that are named one by one; all of them are in predictions.csv
COLUMNS = (
    *("name", "model", "object", "area", "score", "left", "top", "right", "bottom", "distance_m", "nearest_m"),
    "error",
)


@dataclass
class Summary:
    """What a run did. ``computed``: frames predicted now; ``kept``: finished by an earlier run; ``broken``: skipped.

    ``first_error``: why the first broken one was skipped. ``interrupted``: Ctrl-C ended the run; what was predicted
    until then is kept. ``files``: table and contact sheet.
    """

    frames: int = 0
    computed: int = 0
    kept: int = 0
    broken: int = 0
    first_error: str = ""
    interrupted: bool = False
    files: list[Path] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: every frame has its answer. 1: some are broken, or there was no frame. 130: Ctrl-C ended the run."""
        if self.interrupted:
            return 130
        return 0 if self.frames and not self.broken else 1


class Report:
    """Counts outcomes, names the broken ones, and moves the progress bar.

    ``reports_depth``: report once that depth is missing; False where the source has reported it already.
    """

    def __init__(self, total: int | None, reports_depth: bool = True) -> None:
        self.summary, self._reports_depth = Summary(), reports_depth
        self._bar = bar(total, "predict", "picture")
        self._log = logging.getLogger("mutualformer")

    def add(self, error: str, has_depth: bool) -> None:
        """Count one finished frame."""
        summary = self.summary
        if error:
            summary.broken += 1
            summary.first_error = summary.first_error or error
            if summary.broken <= NAMED:
                with beside(self._bar):
                    self._log.warning("skipped: %s", error)
        else:
            summary.computed += 1
            if self._reports_depth and not has_depth:
                self._reports_depth = False
                with beside(self._bar):
                    self._log.info("No depth given: colour only, no distances.")
        self._bar.update()

    def keep(self, count: int) -> None:
        """Count frames that an earlier run finished."""
        self.summary.kept += count
        self._bar.update(count)

    def close(self) -> None:
        """Close the progress bar."""
        self._bar.close()
        if self.summary.broken > NAMED:
            self._log.warning("and %d more were skipped, see predictions.csv", self.summary.broken - NAMED)


def in_order(tasks: Iterable[Any], work: Any, workers: int) -> Iterator[Any]:
    """Run ``work(task)`` for each task on ``workers`` threads; yield results in order, holding at most a few."""
    with ThreadPoolExecutor(workers, thread_name_prefix="predict") as pool:
        pending: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(work, task))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split into lists of ``size``, the last one shorter."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def given_names(album: Frames) -> list[str]:
    """The names under which each frame's files are written, all different."""
    names = Names()
    return [names.give(name_of(album, index)) for index in range(len(album))]


def unfinished(
    album: Frames, journal: Journal, frames: Iterable[int], plan: Plan, keep: Callable[[dict[str, Any]], object]
) -> Iterator[Task]:
    """The tasks of the ``frames`` that are still to be done; ``keep`` gets the records of the others."""
    for index in frames:
        mark = digest(stamp(album, index))
        if (entry := journal.done(index, mark, plan)) is not None:
            keep(entry)
        else:
            yield Task(index, journal.names[index], partial(album.__getitem__, index), mark)


def predict_album(
    album: Frames, models: Sequence[Model], plan: Plan, journal: Journal, *, workers: int, batch: int, resume: bool
) -> Summary:
    """Predict the frames that ``journal`` names and does not list as done; then write table and contact sheet."""
    journal.begin(resume)
    report = Report(len(journal.names))
    tasks = unfinished(album, journal, range(len(journal.names)), plan, lambda entry: report.keep(1))
    _carry_out(tasks, report, models, plan, journal, workers=workers, batch=batch)
    return finish(report.summary, journal, plan)


def predict_moments(
    frames: Iterable[Item], models: Sequence[Model], plan: Plan, journal: Journal, *, workers: int, batch: int
) -> Summary:
    """Predict frames that come once, one after another: a video, a camera, a recording. This cannot be resumed."""
    journal.begin(False)
    report, names = Report(None, reports_depth=False), Names()

    def tasks() -> Iterator[Task]:
        for index, item in enumerate(frames):
            journal.names.append(names.give(item.name))
            yield Task(index, journal.names[index], given(item))

    try:
        _carry_out(tasks(), report, models, plan, journal, workers=workers, batch=batch)
    except KeyboardInterrupt:
        if not report.summary.computed:
            raise
        report.summary.interrupted = True
    return finish(report.summary, journal, plan)


def _carry_out(
    tasks: Iterator[Task],
    report: Report,
    models: Sequence[Model],
    plan: Plan,
    journal: Journal,
    *,
    workers: int,
    batch: int,
) -> None:
    with contextlib.closing(report):
        for outcomes in in_order(batches(tasks, batch), partial(process, models=models, plan=plan), workers):
            for outcome in outcomes:
                journal.add(outcome)
                report.add(outcome.error, outcome.has_depth)


def finish(summary: Summary, journal: Journal, plan: Plan) -> Summary:
    """Write predictions.csv and the contact sheet from the journal, and count the broken frames of earlier runs too."""
    table, strips = plan.out / "predictions.csv", []
    summary.frames, summary.broken, summary.first_error = 0, 0, ""
    every = sheet.every(len(journal.names))
    with csv_table(table, COLUMNS) as write:
        for index, entry in journal.entries():
            for row in [{"error": entry["error"]}] if entry["error"] else entry["rows"]:
                write({"name": entry["name"], **row})
            summary.frames += 1
            if entry["error"]:
                summary.broken += 1
                summary.first_error = summary.first_error or entry["error"]
            elif index % every == 0 and (tile := journal.tile(index)) is not None:
                strips.append((entry["name"], tile))
    summary.files.append(table)
    if strips:
        summary.files.append(plan.out / "sheet.jpg")
        write_bytes(summary.files[-1], sheet.sheet(strips, plan.labels))
    return summary
