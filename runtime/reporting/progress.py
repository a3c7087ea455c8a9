"""Progress of whatever takes longer than two seconds, on standard error: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sized
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SILENT_S = 2.0  # what is over by then shows nothing
LINE_EVERY_S = 10.0  # where the bar cannot be drawn over itself


class SizedIterable(Sized, Protocol[T_co]):
    """Knows its length and can be walked."""

    def __iter__(self) -> Iterator[T_co]:
        """Walk it."""


def bar(total: int | None, label: str, unit: str = "") -> tqdm[Any]:
    """A bar to be moved by hand (``update``) and closed, or used as a context; ``total`` None: nobody knows."""
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


def progress(items: SizedIterable[T], label: str, unit: str = "") -> Iterator[T]:
    """Yield the items; after two seconds show how far it is and how long it will take."""
    with bar(len(items), label, unit) as shown:
        for item in items:
            yield item
            shown.update()
