"""What every dataset yields."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """Data is missing or malformed: says which file, what was found, what is expected."""


class Item(NamedTuple):
    """One RGB-D frame.

    ``rgb`` uint8 (H, W, 3); ``depth`` float32 metres (H, W), 0 = no measurement; ``mask`` uint8 (H, W), 0 or 255, or
    None where there is no ground truth; ``name``: unique in its dataset.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    name: str


class Frames(Protocol):
    """An indexable collection of frames."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...
