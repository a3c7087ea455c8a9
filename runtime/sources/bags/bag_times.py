"""Which clock and which order the messages of a bag's two topics are paired in; what is unusual is said, not guessed.

Headers tell when a picture was taken, and are believed unless they cannot be true: all equal (a driver that sets none),
or colour and depth by clocks that are a second or more apart. Then the bag's own times of recording must do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from statistics import median

from mutualformer.runtime.sources.bags.bag import Bag, BagMessage

CLOCKS = ("", "header", "log")
LOOKED_AT = 64
APART = 1.0  # seconds that processing may take longer on one topic than on the other
LONG_RUN = 16  # messages of one topic in a row: the other one lies elsewhere in the file


class TimeError(ValueError):
    """Nothing tells which depth belongs to which colour: one clause."""


@dataclass(frozen=True)
class Timing:
    """``clock``: header or log. ``apart``: the topics are not interleaved. ``note``: what to tell people, or ""."""

    clock: str
    apart: bool
    note: str


Stamp = Callable[[BagMessage], float | None]


def timing(bag: Bag, colour: str, depth: str, header: Stamp, wish: str) -> Timing:
    """Looks at the first messages. ``header``: their time or None. ``wish``: a clock or "". Raises TimeError."""
    topics = [message.topic for message in islice(bag.messages({colour, depth}), LOOKED_AT)]
    apart = _longest_run(topics) > LONG_RUN
    if wish:
        return Timing(wish, apart, "")
    times = {topic: _times(bag, topic, header) for topic in (colour, depth)}
    reason = _unusable(times, colour, depth)
    if not reason:
        return Timing("header", apart, "")
    if any(len(pairs) > 1 and _equal([log for _, log in pairs]) for pairs in times.values()):
        raise TimeError(
            f"{reason}, and so are its times of recording: nothing tells which depth belongs to which colour"
        )
    return Timing("log", apart, f"{reason}: colour and depth are paired by time of recording; ?time=header overrules")


def _times(bag: Bag, topic: str, header: Stamp) -> list[tuple[float, float]]:
    """(header, log) seconds of the first messages of ``topic``."""
    times = []
    for message in islice(bag.messages({topic}), LOOKED_AT // 4):
        stamp = header(message)
        if stamp is not None:
            times.append((stamp, message.log_time / 1e9))
    return times


def _unusable(times: dict[str, list[tuple[float, float]]], colour: str, depth: str) -> str:
    """Why header times cannot pair the two, or ""."""
    for topic, pairs in times.items():
        stamps = [stamp for stamp, _ in pairs]
        if stamps and _equal(stamps) and (len(stamps) > 1 or stamps[0] == 0):
            return f"the header times of {topic} are all {stamps[0]:g}"
    behind = {topic: [stamp - log for stamp, log in pairs] for topic, pairs in times.items()}
    if not all(len(offsets) > 1 and max(offsets) - min(offsets) < APART / 2 for offsets in behind.values()):
        return ""  # too few or too restless to be the difference of two clocks
    gap = abs(median(behind[colour]) - median(behind[depth]))
    return f"the header times of {colour} and {depth} are of clocks {gap:.3g} s apart" if gap > APART else ""


def _equal(values: list[float]) -> bool:
    return all(value == values[0] for value in values)


def _longest_run(topics: list[str]) -> int:
    return max((len(list(run)) for _, run in groupby(topics)), default=0)


def in_order(bag: Bag, topics: set[str], apart: bool, stamp: Stamp) -> Iterator[BagMessage]:
    """The messages of ``topics``: as they lie in the file, or merged by time where they lie ``apart`` in it."""
    if not apart:
        yield from bag.messages(topics)
        return
    streams = [_stamped(bag.messages({topic}), stamp) for topic in sorted(topics)]
    for _, message in heapq.merge(*streams, key=itemgetter(0)):
        yield message


def _stamped(messages: Iterator[BagMessage], stamp: Stamp) -> Iterator[tuple[float, BagMessage]]:
    """With their times; a message whose time cannot be read follows the one before it."""
    last = float("-inf")
    for message in messages:
        value = stamp(message)
        last = value if value is not None else last
        yield last, message
