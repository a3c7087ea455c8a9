"""Progress of anything longer than two seconds, on standard error: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sized
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SILENT_S = 2.0  # seconds; shorter work shows nothing
LINE_EVERY_S = 10.0  # seconds between lines where no bar can be drawn


class SizedIterable(Sized, Protocol[T_co]):
    """Knows its length and can be walked."""

    def __iter__(self) -> Iterator[T_co]:
        """Walk it."""


def bar(total: int | None, label: str, unit: str = "") -> tqdm[Any]:
    """A bar that the caller updates and closes. ``total`` None: unknown."""
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}" if unit else "it",
        delay=SILENT_S,
        mininterval=0.2 if live else LINE_EVERY_S,
        maxinterval=LINE_EVERY_S,
        dynamic_ncols=live,
        file=sys.stderr,
    )


@contextlib.contextmanager
def beside(progress_bar: tqdm[Any]) -> Iterator[None]:
    """Print a sentence while ``progress_bar`` is open: a visible bar makes room, a hidden one stays hidden."""
    first_at = progress_bar.start_t + (progress_bar.delay or 0.0)
    if progress_bar.last_print_t < first_at:  # tqdm would draw it now and never end its line
        yield
        return
    with tqdm.external_write_mode(file=sys.stderr):
        yield


def progress(items: SizedIterable[T], label: str, unit: str = "") -> Iterator[T]:
    """Yield the items; after two seconds show the progress and the remaining time."""
    with bar(len(items), label, unit) as line:
        for item in items:
            yield item
            line.update()


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """For one long step without counts: print after two seconds what is running, and at the end how long it took."""
    began, visible = time.monotonic(), threading.Event()

    def show() -> None:
        visible.set()
        print(f"{label} …", file=sys.stderr, flush=True)

    timer = threading.Timer(SILENT_S, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if visible.is_set():
            print(f"{label}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
