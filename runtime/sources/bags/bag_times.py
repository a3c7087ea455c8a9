"""Which clock the messages of a bag's two topics are paired by; what is unusual is said, not guessed.

Headers tell when a picture was taken, and are believed unless they cannot be true: all equal (a driver that sets none),
or colour and depth by clocks that are a second or more apart. Then the bag's own times of recording must do.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from statistics import median

from mutualformer.errors import DataError
from mutualformer.runtime.sources.bags.containers import Bag, BagMessage

CLOCKS = ("", "header", "log")
LOOKED_AT = 16
APART = 1.0  # seconds that processing may take longer on one topic than on the other


class TimeError(DataError):
    """Nothing tells which depth belongs to which colour: one clause."""


Stamp = Callable[[BagMessage], float | None]


def clock(bag: Bag, colour: str, depth: str, header: Stamp, wish: str) -> tuple[str, str]:
    """(``header`` or ``log``, what to tell people or ""), by the first messages. ``header``: their time or None.

    ``wish``: a clock or "". Raises TimeError.
    """
    if wish:
        return wish, ""
    times = {topic: _times(bag, topic, header) for topic in (colour, depth)}
    reason = _unusable(times, colour, depth)
    if not reason:
        return "header", ""
    if any(len(pairs) > 1 and _equal([log for _, log in pairs]) for pairs in times.values()):
        raise TimeError(
            f"{reason}, and so are its times of recording: nothing tells which depth belongs to which colour"
        )
    return "log", f"{reason}: colour and depth are paired by time of recording; ?time=header overrules"


def _times(bag: Bag, topic: str, header: Stamp) -> list[tuple[float, float]]:
    """(header, log) seconds of the first messages of ``topic``."""
    times = []
    for message in islice(bag.messages({topic}), LOOKED_AT):
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
