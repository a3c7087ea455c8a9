"""The frames of all sources: :class:`Frame` from a camera, :class:`Item` by number from files; and DataError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import DataError as DataError
from mutualformer.runtime.untrusted.typed_json import Fields

MOST_PIXELS = 1e12  # no calibration holds larger numbers


class Item(NamedTuple):
    """One frame of files.

    ``rgb`` uint8 (H, W, 3); ``depth`` float32 metres (H, W), 0 = no measurement, all 0 where there is none; ``mask``
    uint8 (H, W), 0 or 255, None without ground truth; ``name``: unique in its source. ``metric``: False where depth has
    no unit: near and far are right, distances are not. ``alpha`` uint8 (H, W): the picture's own transparency.
    ``original``: the pixels as stored where ``rgb`` differs from them, ``icc`` their colour profile: what a cut-out is
    made of. ``nir`` uint8 (H, W, 3): for ReID.
    ``time``, ``depth_time``: seconds on the source's clock, None where files have none.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    name: str
    metric: bool = True
    alpha: NDArray[np.uint8] | None = None
    icc: bytes | None = None
    original: NDArray[np.uint8] | None = None
    nir: NDArray[np.uint8] | None = None
    time: float | None = None
    depth_time: float | None = None


class Frames(Protocol):
    """Frames by number. ``has_depth``: False where no frame has any."""

    @property
    def has_depth(self) -> bool:
        """Whether any frame has depth."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


class Joined:
    """The frames of several sources, numbered through; a name says which source it is from."""

    def __init__(self, parts: Sequence[tuple[str, Frames]]) -> None:
        self.parts = list(parts)

    @property
    def has_depth(self) -> bool:
        """Whether any source has depth."""
        return any(frames.has_depth for _, frames in self.parts)

    def __len__(self) -> int:
        return sum(len(frames) for _, frames in self.parts)

    def locate(self, index: int) -> tuple[str, Frames, int]:
        """Prefix, frames and the number among them of frame ``index``. Raises IndexError."""
        if index >= 0:
            for prefix, frames in self.parts:
                if index < len(frames):
                    return prefix, frames, index
                index -= len(frames)
        raise IndexError(index)

    def __getitem__(self, index: int) -> Item:
        prefix, frames, inner = self.locate(index)
        item = frames[inner]
        return item._replace(name=f"{prefix}{item.name}") if prefix else item

    def name(self, index: int) -> str:
        """As :func:`name_of`, with the source's prefix."""
        prefix, frames, inner = self.locate(index)
        return f"{prefix}{name_of(frames, inner)}"

    def files(self, index: int) -> tuple[Path, ...]:
        """As :func:`files_of`."""
        _, frames, inner = self.locate(index)
        return files_of(frames, inner)


def name_of(frames: Any, index: int) -> str:
    """The name of frame ``index``, as far as it is known without reading the frame."""
    return str(frames.name(index)) if hasattr(frames, "name") else f"frame-{index:06d}"


def files_of(frames: Any, index: int) -> tuple[Path, ...]:
    """The files that frame ``index`` is read from; none for rendered scenes."""
    return tuple(frames.files(index)) if hasattr(frames, "files") else ()


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole calibration of the colour image, to which depth is aligned; all values in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "none"
    coefficients: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields by name, plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Intrinsics:
        """Inverse of :meth:`to_json`. Raises ValueError for a value that is missing, of another type or not finite."""
        fields = Fields(data, "intrinsics", ValueError)
        width, height = (fields.whole(key, 1, 1 << 20) for key in ("width", "height"))
        fx, fy, cx, cy = (fields.number(key, -MOST_PIXELS, MOST_PIXELS) for key in ("fx", "fy", "cx", "cy"))
        coefficients = fields.numbers("coefficients", None, -MOST_PIXELS, MOST_PIXELS, ())
        return cls(width, height, fx, fy, cx, cy, fields.text("model", "none"), coefficients)


@dataclass(frozen=True)
class Frame:
    """One moment seen by a camera. The arrays are never written to after the frame is made.

    ``rgb``: (H, W, 3) uint8, RGB order. ``depth``: (H, W) float32 metres aligned to ``rgb``, 0 = no measurement.
    ``timestamp``, ``depth_timestamp``: seconds on the source's clock. ``sequence``: the source's own frame number.
    ``nir``: (H, W, 3) uint8 near-infrared image, for sources that have one (ReID). ``position``: share of the file that
    lies before it, 0 … 1; None where the source cannot seek.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    timestamp: float
    depth_timestamp: float
    sequence: int
    nir: NDArray[np.uint8] | None = None
    position: float | None = None

    @property
    def skew(self) -> float:
        """Seconds by which the colour image is newer than the depth map."""
        return self.timestamp - self.depth_timestamp


def metres(raw: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """Integer depth (H, W) times ``scale`` (metres per unit), or float metres as they are; NaN and infinity become 0.

    One float32 multiplication: the same integers always give the same metres, live or replayed. Raises ValueError.
    """
    if raw.dtype == np.uint16:
        if scale is None or not scale > 0:
            raise ValueError(f"integer depth needs a scale in metres per unit, got {scale}")
        return np.asarray(np.multiply(raw, np.float32(scale), dtype=np.float32))
    if raw.dtype != np.float32:
        raise ValueError(f"depth is {raw.dtype}, expected uint16 units or float32 metres")
    if np.isfinite(raw).all():
        return np.ascontiguousarray(raw)
    return np.asarray(np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0), np.float32)


def infrared(rgb: NDArray[np.uint8], nir: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """``nir``, or black where there is none: a model that was trained for it then answers from colour alone."""
    return np.zeros_like(rgb) if nir is None else nir
