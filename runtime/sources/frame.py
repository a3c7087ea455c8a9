"""One moment seen by a camera, its optics, and its depth in metres: what every stage of the runtime hands on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        """Of :meth:`to_json`. Raises ValueError where a value is missing, of another type or no finite number."""
        if not isinstance(data, dict) or not isinstance(data.get("model", "none"), str):
            raise ValueError("intrinsics are not an object with a model")
        coefficients = data.get("coefficients", [])
        numbers = [data.get(key) for key in ("fx", "fy", "cx", "cy")]
        if not isinstance(coefficients, (list, tuple)) or not all(map(_is_number, (*numbers, *coefficients))):
            raise ValueError("intrinsics hold something that is no number")
        width, height = data.get("width"), data.get("height")
        if not (type(width) is int and type(height) is int and 0 < width < 1 << 20 and 0 < height < 1 << 20):
            raise ValueError(f"intrinsics are of an image of {width}×{height}")
        fx, fy, cx, cy = (float(value) for value in numbers if value is not None)
        return cls(width, height, fx, fy, cx, cy, data.get("model", "none"), tuple(map(float, coefficients)))


@dataclass(frozen=True)
class Frame:
    """One moment seen by a camera. The arrays are never written to after the frame is made.

    ``rgb``: (H, W, 3) uint8, RGB order. ``depth``: (H, W) float32 metres aligned to ``rgb``, 0 = no measurement.
    ``timestamp``, ``depth_timestamp``: seconds on the source's clock. ``sequence``: the source's own frame number.
    ``nir``: (H, W, 3) uint8 near-infrared image, for sources that have one (ReID).
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    timestamp: float
    depth_timestamp: float
    sequence: int
    nir: NDArray[np.uint8] | None = None

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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
