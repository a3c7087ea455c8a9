"""What every dataset yields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class DataError(ValueError):
    """Data is missing or malformed: says which file, what was found, what is expected."""


class Item(NamedTuple):
    """One RGB-D frame.

    ``rgb`` uint8 (H, W, 3); ``depth`` float32 metres (H, W), 0 = no measurement, all 0 where a set has no depth;
    ``mask`` uint8 (H, W), 0 or 255, or None where there is no ground truth; ``name``: unique in its dataset.
    ``metric``: False where depth is pseudo-metres of a map without a unit: near and far are right, distances are not.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    name: str
    metric: bool = True


class Frames(Protocol):
    """An indexable collection of frames. ``has_depth``: False where no frame has any (RGB sets such as DUTS)."""

    @property
    def has_depth(self) -> bool:
        """Whether any frame has depth."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


class Joined:
    """The frames of several sets one after another; a name says which set it is from."""

    def __init__(self, datasets: Sequence[tuple[str, Frames]]) -> None:
        self.datasets = datasets

    @property
    def has_depth(self) -> bool:
        """Whether any of the sets has depth."""
        return any(frames.has_depth for _, frames in self.datasets)

    def __len__(self) -> int:
        return sum(len(frames) for _, frames in self.datasets)

    def locate(self, index: int) -> tuple[str, Frames, int]:
        """Set, its frames, and the index there of frame ``index``. Raises IndexError."""
        if index >= 0:
            for name, frames in self.datasets:
                if index < len(frames):
                    return name, frames, index
                index -= len(frames)
        raise IndexError(index)

    def __getitem__(self, index: int) -> Item:
        name, frames, inside = self.locate(index)
        item = frames[inside]
        return item._replace(name=f"{name}/{item.name}")


def reading(reader: Callable[..., T], *arguments: Any) -> T:
    """Call a reader of :mod:`mutualformer.runtime.sources.pictures`; its error becomes DataError."""
    from mutualformer.runtime.sources.pictures import ImageError

    try:
        return reader(*arguments)
    except ImageError as error:
        raise DataError(str(error)) from error
