"""The table ``[mixture]`` of a recipe for ``photo:ROOT``: the shares of frames and of faults of depth."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Mixture:
    """Shares of the five kinds of frames, which sum to 1, and then probabilities within a frame.

    A photograph teaches "mark the one that stands out", a table "mark every object". The view from above and its depth
    tell the two apart, so a table never loses its depth.
    """

    photograph: float = 0.77
    sensor: float = 0.08
    table: float = 0.11
    rendered: float = 0.01
    taught: float = 0.03  # a sensor's own frame, with the teacher's map as its truth
    depth_of_photograph: float = 0.45
    bystanders: float = 0.2  # photographs that get objects of other photographs as background
    spoiled: float = 0.12  # of the frames with depth
    dropped: float = 0.12
    holed: float = 0.12

    def kinds(self) -> tuple[tuple[str, float], ...]:
        """(name, share) of the five kinds."""
        return tuple((f.name, getattr(self, f.name)) for f in fields(self)[:5])
