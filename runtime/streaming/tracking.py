"""Track objects: the same number for the same object from frame to frame, and smoothed distances.

Boxes are matched by their overlap, best pairs first; that suffices where objects move by less than their own size
between two frames. A jump of the distance by more than :data:`LEAP` is not smoothed: a sudden obstacle must show at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mutualformer.runtime.images.objects import SalientObject

OVERLAP = 0.3  # intersection over union above which two boxes may show one object; chosen, not measured
TIMEOUT = 15  # frames without the object after which its number is not reused for it: half a second at 30 fps
NEW = 0.4  # weight of the newest distance in the smoothed one
LEAP = 0.1  # relative change of the distance above which it is taken unsmoothed


class Tracker:
    """The objects of one source; :meth:`follow` for each frame in order."""

    def __init__(self) -> None:
        # Identity → the object as it was last seen, and the number of that frame.
        self._tracks: dict[int, tuple[SalientObject, int]] = {}
        self._next = self._frame = 0

    def follow(self, objects: Sequence[SalientObject]) -> tuple[SalientObject, ...]:
        """The same objects in the same order, with identities and smoothed distances."""
        self._frame += 1
        self._tracks = {key: one for key, one in self._tracks.items() if self._frame - one[1] <= TIMEOUT + 1}
        pairs = sorted(
            (
                (overlap(last.box, one.box), identity, index)
                for identity, (last, _) in self._tracks.items()
                for index, one in enumerate(objects)
            ),
            reverse=True,
        )
        owner: dict[int, int] = {}
        for share, identity, index in pairs:
            if share >= OVERLAP and index not in owner and identity not in owner.values():
                owner[index] = identity
        followed = []
        for index, one in enumerate(objects):
            now = one
            if index in owner:
                last, _ = self._tracks[owner[index]]
                distance, near = smoothed(last.distance_m, one.distance_m), smoothed(last.nearest_m, one.nearest_m)
                now = replace(one, distance_m=distance, nearest_m=near)
            else:
                owner[index], self._next = self._next, self._next + 1
            now = replace(now, identity=owner[index])
            self._tracks[owner[index]] = now, self._frame
            followed.append(now)
        return tuple(followed)


def smoothed(before: float | None, now: float | None) -> float | None:
    """The smoothed distance; None where nothing is measured now."""
    if before is None or now is None or abs(now - before) > LEAP * before:
        return now
    return before + NEW * (now - before)


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (both - width * height)
