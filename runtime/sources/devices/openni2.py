"""PrimeSense, Asus Xtion and other OpenNI2 cameras through OpenCV; the device aligns depth to colour.

The OpenCV wheels come without OpenNI2: build OpenCV with ``-DWITH_OPENNI2=ON`` for this source.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, CameraLost, DeviceCamera
from mutualformer.runtime.sources.frame import Frame, Intrinsics

SCALE = 0.001


@dataclass(frozen=True)
class Options:
    """There are none."""


def available() -> bool:
    """True where this OpenCV was built with OpenNI2."""
    lines = [line for line in cv2.getBuildInformation().splitlines() if "OpenNI2" in line]
    return any("YES" in line for line in lines)


class OpenNI2Camera(DeviceCamera):
    """``capture``: a ``cv2.VideoCapture`` of the OpenNI2 backend. The capture thread replaces a grab that hangs."""

    def __init__(self, capture: Any, name: str) -> None:
        super().__init__(name, stop=capture.release, depth_scale=SCALE)
        self._capture = capture
        self._number = 0
        if not capture.set(cv2.CAP_PROP_OPENNI_REGISTRATION, 1):
            self.warn(f"{name}: the device cannot align depth to colour; edges in depth will be shifted")

    def grab(self, timeout: float) -> float:
        """The time of the frame; its pixels stay in the capture."""
        if not self._capture.grab():
            raise CameraLost(f"{self.name}: no frame; is the camera still plugged in?")
        return time.time()

    def convert(self, raw: float) -> Frame:
        """``raw``: the time of the grab, which both halves get. Raises CameraLost, CameraError."""
        got_depth, units = self._capture.retrieve(flag=cv2.CAP_OPENNI_DEPTH_MAP)
        got_colour, bgr = self._capture.retrieve(flag=cv2.CAP_OPENNI_BGR_IMAGE)
        if not (got_depth and got_colour):
            raise CameraLost(f"{self.name}: a frame came without {'colour' if got_depth else 'depth'}")
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        if self.intrinsics is None:
            focal = float(self._capture.get(cv2.CAP_OPENNI_DEPTH_GENERATOR_FOCAL_LENGTH))
            height, width = units.shape
            if focal > 0:
                self.intrinsics = Intrinsics(width, height, focal, focal, width / 2, height / 2)
        self._number += 1
        return self.frame(rgb, units, SCALE, (raw, raw), self._number - 1)


def open_source(target: str, query: Mapping[str, Any]) -> OpenNI2Camera:
    """``target``: the device's index, empty for the first."""
    name = f"openni2://{target}"
    opts.parse(Options, query, name)  # refuses whatever is given
    if not available():
        raise CameraError(f"{name}: this OpenCV was built without OpenNI2; build it with -DWITH_OPENNI2=ON")
    if target and not (target.isascii() and target.isdigit() and len(target) < 4):
        raise CameraError(f"{name}: expected the index of the camera, for example openni2://0")
    capture = cv2.VideoCapture(int(target or 0), cv2.CAP_OPENNI2)
    if not capture.isOpened():
        raise CameraError(f"{name}: no such OpenNI2 camera; check cable and udev rules")
    return OpenNI2Camera(capture, name)
