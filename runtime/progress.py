"""A progress line for whatever takes longer than two seconds, on standard error, only in a terminal or every 10 %."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sized
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class SizedIterable(Sized, Protocol[T_co]):
    def __iter__(self) -> Iterator[T_co]: ...


def progress(items: SizedIterable[T_co], label: str) -> Iterator[T_co]:
    """Yield the items; after two seconds show how far it is and how long it will take."""
    total, start, shown, stream = len(items), time.monotonic(), 0, sys.stderr
    live = stream.isatty()
    for done, item in enumerate(items, start=1):
        yield item
        spent = time.monotonic() - start
        tenth = done * 10 // max(total, 1)
        if spent < 2 or (tenth == shown and not live):
            continue
        shown = tenth
        left = spent / done * (total - done)
        print(f"{label}: {done}/{total}, {left:.0f} s left", end="\r" if live else "\n", file=stream, flush=True)
    if live and shown:
        print(file=stream)


@contextlib.contextmanager
def working(label: str, after: float = 2.0) -> Iterator[None]:
    """For one long step that cannot count: after ``after`` seconds say what is being done, at the end how long it took.

    What is inside may print to standard output; these lines go to standard error.
    """
    began, shown = time.monotonic(), threading.Event()

    def show() -> None:
        shown.set()
        print(f"{label} …", file=sys.stderr, flush=True)

    timer = threading.Timer(after, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if shown.is_set():
            print(f"{label}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
