"""Ordinary webcams: ``0``, ``/dev/video0`` or ``webcam:0?size=1280x720&fps=30``. Colour only, without depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, CameraLost, ColourCamera
from mutualformer.runtime.sources.frame import Frame

DEVICES = Path("/dev")


@dataclass(frozen=True)
class Options:
    """``size`` and ``fps`` are asked of the camera, which takes the nearest that it has; empty and 0 leave its own."""

    size: str = ""
    fps: float = 0.0


class WebcamCamera(ColourCamera):
    """``device``: a number or a path below /dev. Raises CameraError where there is none or it is in use."""

    def __init__(self, device: str, options: Options) -> None:
        if not 0 <= options.fps < math.inf:
            raise CameraError(f"webcam:{device}: expected fps of 0 or more")
        name = f"webcam:{device}"
        path = Path(device) if device.startswith("/") else DEVICES / f"video{device}"
        if not path.exists():
            there = sorted(one.name for one in DEVICES.glob("video*"))
            raise CameraError(f"{name}: {path} does not exist; there is {', '.join(there) or 'no camera'}")
        capture = cv2.VideoCapture(int(device) if device.isascii() and device.isdigit() else str(path))
        if not capture.isOpened():
            raise CameraError(
                f"{name}: {path} cannot be opened; is another program using it, and are you in the group 'video'?"
            )
        if options.size:
            height, width = opts.size(options.size, name)
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        if options.fps:
            capture.set(cv2.CAP_PROP_FPS, options.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the oldest of a queue
        super().__init__(name, connected=path.exists, stop=capture.release)
        self._capture = capture
        given = [int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        if options.size and given != [width, height]:
            self.warn(f"{name}: gives {given[0]}×{given[1]} instead of {options.size}")

    def grab(self, timeout: float) -> Any:
        """The next picture, (H, W, 3) uint8 BGR; OpenCV has a timeout of its own. Raises CameraLost."""
        ok, image = self._capture.read()
        if not ok or image is None:
            raise CameraLost(f"{self.name}: gives no picture any more; is it still plugged in?")
        return image

    def convert(self, raw: Any) -> Frame:
        """As DeviceCamera.convert, of :meth:`grab`'s picture."""
        return self.colour(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB))


def open_source(target: str, query: Mapping[str, Any]) -> WebcamCamera:
    """``target``: the camera's number or its path below /dev."""
    return WebcamCamera(target, opts.parse(Options, query, f"webcam:{target}"))
