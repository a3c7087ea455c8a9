"""Thousands of frames on this machine: read, predicted and written by a few threads, in bounded memory.

Where the model runs on the CPU, each worker thread carries one frame from file to files with a single-threaded
session: that keeps all cores busy, where one session on all threads leaves them idle while pictures are decoded and
encoded. The answers do not depend on the number of workers. Where it runs on a GPU, frames go in batches of up to what
the engine was built for, and the workers read and write while it computes.
"""

from __future__ import annotations

import csv
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from mutualformer.runtime.files import replacing, spreadsheet, write_bytes
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.prediction.journal import FOLDER, SHARD, Journal, digest, shards
from mutualformer.runtime.prediction.unique_names import Names
from mutualformer.runtime.prediction.work import FrameOutcome, Model, Plan, Reader, process
from mutualformer.runtime.reporting.progress import bar, beside
from mutualformer.runtime.sources.inputs import Album, Moment

T = TypeVar("T")
NAMED = 20  # broken pictures named one by one; the rest are in predictions.csv
COLUMNS = (
    *("name", "model", "object", "area", "score", "left", "top", "right", "bottom", "distance_m", "nearest_m"),
    "error",
)
Batch = list[tuple[int, str, Reader]]


@dataclass
class Summary:
    """What a run did. ``computed``: frames predicted now; ``kept``: finished by an earlier run; ``broken``: skipped.

    ``first_error``: why the first broken one was skipped. ``without_depth``: answered from colour alone.
    ``interrupted``: by Ctrl-C; what was predicted until then is kept. ``files``: the table and the contact sheet.
    """

    frames: int = 0
    computed: int = 0
    kept: int = 0
    broken: int = 0
    without_depth: int = 0
    first_error: str = ""
    interrupted: bool = False
    files: list[Path] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: every frame there was has its answer. 1: some are broken, or there was none. 130: Ctrl-C ended it."""
        if self.interrupted:
            return 130
        return 0 if self.frames and not self.broken else 1


class Report:
    """Counts outcomes, names the broken ones, and moves the progress bar.

    ``says_depth``: say once that depth is missing; False where the source has said so.
    """

    def __init__(self, total: int | None, says_depth: bool = True) -> None:
        self.summary, self._says_depth = Summary(), says_depth
        self._bar = bar(total, "predict", "picture")
        self._log = logging.getLogger("mutualformer")

    def add(self, error: str, has_depth: bool) -> None:
        """One frame is done."""
        summary = self.summary
        summary.computed += not error
        summary.broken += bool(error)
        if error:
            summary.first_error = summary.first_error or error
            if summary.broken <= NAMED:
                with beside(self._bar):
                    self._log.warning("skipped: %s", error)
        elif not has_depth:
            if self._says_depth and not summary.without_depth:
                with beside(self._bar):
                    self._log.info("no depth: the model works from colour alone, and no distance can be told")
            summary.without_depth += 1
        self._bar.update()

    def skip(self, count: int) -> None:
        """So many frames were done before."""
        self._bar.update(count)

    def close(self) -> None:
        """The last line."""
        self._bar.close()
        if self.summary.broken > NAMED:
            self._log.warning("and %d more were skipped, see predictions.csv", self.summary.broken - NAMED)


def in_order(tasks: Iterable[Any], work: Any, workers: int) -> Iterator[Any]:
    """``work(task)`` for each task on ``workers`` threads; results in order, never more than a few waiting."""
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
    """Lists of ``size``, the last one shorter."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def predict_album(
    album: Album, models: Sequence[Model], plan: Plan, journal: Journal, *, workers: int, batch: int, resume: bool
) -> Summary:
    """All frames of ``album`` that ``journal`` does not know as done; then the table and the contact sheet."""
    names = given_names(album)
    journal.begin(resume, names)
    parts = shards(len(album))
    stamps: dict[int, str] = {}
    done_before = 0

    def pending() -> Iterator[tuple[int, str, Reader]]:
        nonlocal done_before
        for number, part in enumerate(parts):
            marks = {index: digest(album.stamp(index)) for index in part}
            finished = journal.done(number, marks, plan) if resume else {}
            done_before += len(finished)
            report.skip(len(finished))
            for index in part:
                if index not in finished:
                    stamps[index] = marks[index]
                    yield index, names[index], partial(album.read, index)

    report = Report(len(album))
    try:
        for outcomes in in_order(batches(pending(), batch), partial(process, models=models, plan=plan), workers):
            for outcome in outcomes:
                journal.add(outcome.index // SHARD, names[outcome.index], outcome, stamps.pop(outcome.index))
                report.add(outcome.error, outcome.has_depth)
    finally:
        report.close()
    report.summary.kept = done_before
    return finish(report.summary, journal, plan, len(album))


def given_names(album: Album) -> list[str]:
    """What the files of each frame are called, no two alike."""
    names = Names()
    return [names.give(album.name(index)) for index in range(len(album))]


def finish(summary: Summary, journal: Journal, plan: Plan, count: int) -> Summary:
    """Write predictions.csv and the contact sheet from the journal; counts the broken ones of earlier runs too."""
    table, strips, broken, first = plan.out / "predictions.csv", [], 0, ""
    with replacing(table) as beside, beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        for entry in journal.entries(len(shards(count))):
            write_rows(writer, entry["name"], entry["rows"], entry["error"])
            broken += bool(entry["error"])
            first = first or entry["error"]
            tile = journal.tile(entry["key"]) if entry["index"] in plan.tiles else None
            if tile is not None:
                strips.append((entry["name"], tile))
    summary.frames, summary.broken, summary.first_error = count, broken, first
    summary.files.append(table)
    write_sheet(summary, plan, strips)
    return summary


def write_rows(writer: csv.DictWriter[str], name: str, rows: Sequence[dict[str, Any]], error: str) -> None:
    """One frame's lines of the table: one a model, or one with the error."""
    for row in rows if not error else [{"error": error}]:
        writer.writerow(spreadsheet({"name": name, **row}))


def write_sheet(summary: Summary, plan: Plan, strips: Sequence[tuple[str, bytes]]) -> None:
    """The contact sheet, where any frame has an answer."""
    if strips:
        path = plan.out / "sheet.jpg"
        write_bytes(path, sheet.sheet(strips, plan.labels))
        summary.files.append(path)


def predict_moments(
    frames: Iterable[Moment], models: Sequence[Model], plan: Plan, *, workers: int, batch: int
) -> Summary:
    """Frames that come one after another and only once: a video, a camera, a recording. Cannot be resumed."""
    report, strips, names = Report(None, says_depth=False), Spread(sheet.MOST), Names()

    def tasks() -> Iterator[tuple[int, str, Reader]]:
        for index, moment in enumerate(frames):
            yield index, names.give(moment.item.name), partial(_same, (moment.item, moment.has_depth))

    def work(group: Batch) -> list[FrameOutcome]:
        tiles = frozenset(index for index, _, _ in group if strips.wants(index))
        return process(group, models, replace(plan, tiles=tiles))

    table = plan.out / "predictions.csv"
    (plan.out / FOLDER).mkdir(parents=True, exist_ok=True)  # marks the folder as output
    try:
        with (
            replacing(table) as beside,
            beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
        ):
            writer = csv.DictWriter(stream, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            try:
                for outcomes in in_order(batches(tasks(), batch), work, workers):
                    for outcome in outcomes:
                        write_rows(writer, outcome.name, outcome.rows, outcome.error)
                        report.add(outcome.error, outcome.has_depth)
                        report.summary.frames += 1
                        if outcome.tile is not None:
                            strips.add(outcome.index, (outcome.name, outcome.tile))
            except KeyboardInterrupt:
                if not report.summary.frames:
                    raise
                report.summary.interrupted = True
    finally:
        report.close()
    report.summary.files.append(table)
    write_sheet(report.summary, plan, strips.chosen())
    return report.summary


def _same(value: tuple[Any, bool]) -> tuple[Any, bool]:
    return value


class Spread:
    """Evenly spread picks out of a sequence of unknown length, at most ``most`` of them: every 2^k-th frame."""

    def __init__(self, most: int) -> None:
        self._most, self._step = most, 1
        self._picks: dict[int, tuple[str, bytes]] = {}

    def wants(self, index: int) -> bool:
        """Whether frame ``index`` would be picked as far as is known now."""
        return index % self._step == 0

    def add(self, index: int, pick: tuple[str, bytes]) -> None:
        """Keep a pick; when there are too many, every other one is let go."""
        if not self.wants(index):
            return
        self._picks[index] = pick
        if len(self._picks) > self._most:
            self._step *= 2
            self._picks = {i: kept for i, kept in self._picks.items() if i % self._step == 0}

    def chosen(self) -> list[tuple[str, bytes]]:
        """The picks in order."""
        return [self._picks[index] for index in sorted(self._picks)]
