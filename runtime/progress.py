"""A progress line for whatever takes longer than two seconds, on standard error, only in a terminal or every 10 %."""

from __future__ import annotations

import sys
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
