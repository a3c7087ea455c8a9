"""Which clock the messages of a bag's two topics are paired by.

Headers say when a picture was taken. They are used unless they cannot be true: all are equal (a driver that sets none),
or colour and depth have clocks that are a second or more apart. Then the times of recording decide, and a note says so.
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
Stamp = Callable[[BagMessage], float | None]


def clock(bag: Bag, colour: str, depth: str, header: Stamp) -> tuple[str, str]:
    """(``header`` or ``log``, a note for the user or ""), by the first messages. ``header``: their time or None.

    Raises DataError.
    """
    headers: dict[str, list[float]] = {}
    logs: dict[str, list[float]] = {}
    for topic in (colour, depth):
        timed = [(header(message), message.log_time / 1e9) for message in islice(bag.messages({topic}), LOOKED_AT)]
        headers[topic] = [stamp for stamp, _ in timed if stamp is not None]
        logs[topic] = [log for stamp, log in timed if stamp is not None]
    reason = _unusable(headers, logs)
    if not reason:
        return "header", ""
    if any(len(times) > 1 and len(set(times)) == 1 for times in logs.values()):
        raise DataError(f"{reason}, and so are its times of recording: depth cannot be paired with colour")
    return "log", f"{reason}: colour and depth are paired by time of recording; ?time=header overrules"


def _unusable(headers: dict[str, list[float]], logs: dict[str, list[float]]) -> str:
    """Why header times cannot pair the two topics, or ""."""
    for topic, stamps in headers.items():
        if len(set(stamps)) == 1 and (len(stamps) > 1 or stamps[0] == 0):
            return f"the header times of {topic} are all {stamps[0]:g}"
    behind = [[stamp - log for stamp, log in zip(headers[topic], logs[topic], strict=True)] for topic in headers]
    if not all(len(offsets) > 1 and max(offsets) - min(offsets) < APART / 2 for offsets in behind):
        return ""  # too few or too unsteady to be the difference of two clocks
    gap = abs(median(behind[0]) - median(behind[1]))
    return f"the header times of {' and '.join(headers)} are of clocks {gap:.3g} s apart" if gap > APART else ""
