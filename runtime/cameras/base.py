"""What every RGB-D source gives the pipeline: :class:`Frame`, :class:`Camera`, and the three ways it can go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class CameraError(RuntimeError):
    """The source cannot be used at all: wrong address, missing extra, unreadable file. Trying again will not help."""


class CameraLost(CameraError):
    """The source worked and stopped working (unplugged, driver reset). Opening it again may help."""


class CameraTimeout(CameraError):
    """No frame within the time given to ``read``. The source may still recover by itself."""


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
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Intrinsics:
        return cls(**{**data, "coefficients": tuple(data.get("coefficients", ()))})


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


@runtime_checkable
class Camera(Protocol):
    """A source of frames.

    ``name`` names it to people. ``live``: True where frames that nobody takes are lost (a device), False where they
    wait (a recording): the pipeline drops old frames of the former and none of the latter. ``intrinsics``: None where
    the source does not know. ``depth_scale``: metres per unit where depth came as 16-bit integers, None where it came
    as float. ``busy_s``: seconds spent on the last frame after it had arrived (alignment, decoding).
    ``warnings``: what was wrong with the source without stopping it, one sentence each.
    """

    name: str
    live: bool
    intrinsics: Intrinsics | None
    depth_scale: float | None
    busy_s: float
    warnings: list[str]

    def read(self, timeout: float = 1.0) -> Frame | None:
        """The next frame; None at a recording's end. Raises CameraTimeout after ``timeout`` seconds, CameraLost."""
        ...

    def close(self) -> None:
        """Give the device or file back. May be called twice, and from another thread while ``read`` waits."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...


class BaseCamera:
    """The parts every source shares: the attributes, iteration, and use in a ``with`` statement."""

    def __init__(
        self,
        name: str,
        *,
        live: bool,
        intrinsics: Intrinsics | None = None,
        depth_scale: float | None = None,
    ) -> None:
        self.name = name
        self.live = live
        self.intrinsics = intrinsics
        self.depth_scale = depth_scale
        self.busy_s = 0.0
        self.warnings: list[str] = []

    def read(self, timeout: float = 1.0) -> Frame | None:
        raise NotImplementedError(f"{type(self).__name__} must implement read")

    def close(self) -> None:
        """Nothing to give back unless a source says otherwise."""

    def warn(self, sentence: str) -> None:
        """Remember a problem once; a camera that runs for days must not collect millions of sentences."""
        if sentence not in self.warnings and len(self.warnings) < 100:
            self.warnings.append(sentence)

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> BaseCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def metres(raw: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """Integer depth (H, W) times ``scale`` (metres per unit), or float metres as they are; NaN and infinity become 0.

    One float32 multiplication, so that the same integers always give the same metres, live or replayed.
    """
    if raw.dtype == np.uint16:
        if scale is None or not scale > 0:
            raise CameraError(f"integer depth needs a scale in metres per unit, got {scale}")
        return np.asarray(np.multiply(raw, np.float32(scale), dtype=np.float32))
    if raw.dtype != np.float32:
        raise CameraError(f"depth is {raw.dtype}, expected uint16 units or float32 metres")
    if np.isfinite(raw).all():
        return np.ascontiguousarray(raw)
    return np.asarray(np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0), np.float32)
