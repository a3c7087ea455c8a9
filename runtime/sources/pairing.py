"""Pairs two streams by time while they arrive: each colour image gets the depth map nearest to it, each depth once.

One rule for lists of files, bags, videos and recordings of librealsense.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Stamped = tuple[float, T]

# A sensor that is silent during this many frames of the other one has stopped; waiting longer would only fill memory.
MOST_WAITING = 32


class Pairer(Generic[T]):
    """Feed both streams in the order in which they come; each is in time order by itself. Times in seconds.

    A colour image is decided on once a depth map as new as itself and the next colour image are there, or when the
    streams end. ``unpaired``: number of colour images without depth within ``max_skew``.
    """

    def __init__(self, max_skew: float) -> None:
        self.max_skew = max_skew
        self.unpaired = 0
        self._colour: deque[tuple[float, T]] = deque()
        self._depth: deque[tuple[float, T]] = deque()

    def colour(self, stamp: float, item: T) -> Iterator[tuple[T, T]]:
        """Add a colour image; yields the (colour, depth) pairs that are now decided on."""
        self._colour.append((stamp, item))
        yield from self._ready(final=False)

    def depth(self, stamp: float, item: T) -> Iterator[tuple[T, T]]:
        """Add a depth map; yields the (colour, depth) pairs that are now decided on."""
        self._depth.append((stamp, item))
        if len(self._depth) > MOST_WAITING and not self._colour:
            self._depth.popleft()
        yield from self._ready(final=False)

    def flush(self) -> Iterator[tuple[T, T]]:
        """The remaining pairs, when no more images will come."""
        yield from self._ready(final=True)

    def _ready(self, final: bool) -> Iterator[tuple[T, T]]:
        while self._colour:
            stamp, item = self._colour[0]
            while self._depth and self._depth[0][0] < stamp - self.max_skew:
                self._depth.popleft()
            newest = self._depth[-1][0] if self._depth else float("-inf")
            if not final and (newest < stamp or len(self._colour) < 2) and len(self._colour) <= MOST_WAITING:
                return
            self._colour.popleft()
            best = self._nearest(stamp)
            if best is None:
                self.unpaired += 1
                continue
            for _ in range(best):
                self._depth.popleft()
            yield item, self._depth.popleft()[1]

    def _nearest(self, stamp: float) -> int | None:
        """Index of the depth map for a colour image; one that is nearer to the next colour image is left to that."""
        following = self._colour[0][0] if self._colour else float("inf")
        free = [
            (abs(depth - stamp), index)
            for index, (depth, _) in enumerate(self._depth)
            if abs(depth - stamp) <= min(self.max_skew, abs(depth - following))
        ]
        return min(free)[1] if free else None


def paired(
    pairer: Pairer[Stamped[T]], colours: Iterable[Stamped[T]], depths: Iterable[Stamped[T]]
) -> Iterator[tuple[Stamped[T], Stamped[T]]]:
    """The pairs of two streams of (seconds, item) that can be read side by side, each in time order."""

    def numbered(stream: Iterable[Stamped[T]], add: Callable[..., Any]) -> Iterator[Any]:
        # Equal times alternate between the streams, so that no more than MOST_WAITING of one have to wait.
        return ((item[0], number, item, add) for number, item in enumerate(stream))

    merged = heapq.merge(numbered(colours, pairer.colour), numbered(depths, pairer.depth), key=lambda entry: entry[:2])
    for stamp, _, item, add in merged:
        yield from add(stamp, item)
    yield from pairer.flush()
