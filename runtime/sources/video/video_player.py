"""Video files: ``film.mp4``, or ``video:COLOUR_FILE,DEPTH_FILE`` with a second video as depth.

A depth video is grey: 16 bits a pixel (FFV1 keeps them exactly) are units, millimetres unless ``scale`` says otherwise;
8 bits carry no unit and are refused unless ``relative=1`` says that near and far are all that matters. Both videos are
read frame by frame; where one is shorter, the rest of the other is left out and said.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import WITHOUT_DEPTH, BaseCamera, CameraError
from mutualformer.runtime.sources.depth import DepthRule, to_metres
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.sources.playing import Pace
from mutualformer.runtime.sources.video.video import videos

UNITS_PER_METRE = 1000.0
MAX_PIXELS = 64_000_000
MOST_FPS, USUAL_FPS = 1000, 30.0  # the latter where a file says nothing credible
GREY_TOLERANCE = 8  # between the planes of a grey picture that was coded in colour


@dataclass(frozen=True)
class Options:
    """``scale``: depth units per metre, 0 = millimetres. ``relative``: take 8-bit depth as near and far without unit.

    ``fps``: 0 = the file's own. ``rate``: play at this multiple of it, 0 = as fast as frames are taken. ``loop``:
    begin again at the end.
    """

    scale: float = 0.0
    relative: bool = False
    fps: float = 0.0
    rate: float = 0.0
    loop: bool = False


class _Reader:
    """One video file. ``exact``: no conversion to colour (a depth video). Raises CameraError.

    ``as_stored``: not turned as its tag asks, because another video lies over it; ``turned``: by how many degrees.
    """

    def __init__(self, path: Path, exact: bool = False, as_stored: bool = False) -> None:
        self.path, self._exact = path, exact
        if not path.is_file():
            raise CameraError(f"{path}: no such video file")
        self._stack = ExitStack()
        self._name = self._plain_name(path)
        self._capture = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self.close()
            raise CameraError(f"{path}: cannot be opened as a video; is it whole, and does this OpenCV know its codec?")
        self.turned = 0
        if as_stored:
            self.turned = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise CameraError(f"{path}: declares {width:.0f}×{height:.0f} pixels, expected at most 64 million")
        if exact and self._holds_16_bits():
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 0 < fps <= MOST_FPS else USUAL_FPS

    def _holds_16_bits(self) -> bool:
        """Whether the frames as stored are grey levels of 16 bits; others must go through the decoder's conversion."""
        probe = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG)
        probe.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        ok, image = probe.read()
        probe.release()
        return bool(ok) and image.dtype == np.uint16

    def _plain_name(self, path: Path) -> str:
        """A name that OpenCV can be given: one that is not UTF-8 ends the process there."""
        try:
            str(path).encode()
            return str(path)
        except UnicodeEncodeError:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mutualformer-"))
            link = Path(folder) / f"video{path.suffix.encode('ascii', 'ignore').decode()}"
            os.symlink(path.absolute(), link)
            return str(link)

    def read(self) -> NDArray[Any] | None:
        """The next frame: RGB (H, W, 3), or grey (H, W) as stored; None at the end."""
        ok, image = self._capture.read()
        if not ok or image is None:
            return None
        if not self._exact:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        image = np.squeeze(image)
        if image.ndim == 3:  # a codec that knows no grey: three equal planes
            if int(np.ptp(image.astype(np.int16), axis=2).max()) > GREY_TOLERANCE:
                raise CameraError(f"{self.path}: is a colour video, expected grey levels; colourised depth is lost")
            image = image[..., 1]
        return np.ascontiguousarray(image)

    def rewind(self) -> None:
        """Back to the first frame."""
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)

    def close(self) -> None:
        """Give the file back; calling it twice is harmless."""
        self._capture.release()
        self._stack.close()


class VideoCamera(BaseCamera):
    """In order and lossless, like every recording."""

    def __init__(self, colour: Path, depth: Path | None, options: Options) -> None:
        name = f"video:{colour}" + (f",{depth}" if depth is not None else "")
        if not (0 <= options.scale < math.inf and 0 <= options.fps <= MOST_FPS and 0 <= options.rate < math.inf):
            raise CameraError(f"{name}: expected scale, fps and rate of 0 or more")
        units = options.scale or UNITS_PER_METRE
        super().__init__(name, live=False, depth_scale=None if depth is None else 1.0 / units)
        self.assumed_units = None if depth is None or options.scale else units
        self._rule = DepthRule(1.0 / units)
        self._options, self._colour = options, _Reader(colour, as_stored=depth is not None)
        try:
            self._depth = _Reader(depth, exact=True, as_stored=True) if depth is not None else None
        except CameraError:
            self._colour.close()
            raise
        for reader in filter(None, (self._colour, self._depth)):
            if reader.turned:
                self.warn(f"{reader.path}: asks to be turned by {reader.turned}°; both videos are read as stored")
        self._fps = options.fps or self._colour.fps
        self._pace, self._count, self._round = Pace(options.rate, self), 0, 0
        if depth is None:
            self.warn(f"{name}: {WITHOUT_DEPTH}", key="no depth")

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As Camera.read; the time of frame i is i / fps. Without a depth video depth is all holes."""
        stamp = self._count / self._fps
        self._pace.wait(stamp, timeout)
        began = time.perf_counter()
        rgb = self._colour.read()
        stored = self._depth.read() if self._depth is not None and rgb is not None else None
        if rgb is None or (self._depth is not None and stored is None):
            return self._end(rgb is not None, timeout)
        depth = np.zeros(rgb.shape[:2], np.float32) if stored is None else self._metres(stored, rgb.shape[:2])
        self.busy_s = time.perf_counter() - began
        self._count, self._round = self._count + 1, self._round + 1
        return Frame(np.asarray(rgb, np.uint8), depth, stamp, stamp, self._count - 1)

    def _end(self, colour_left: bool, timeout: float) -> Frame | None:
        """Once more from the beginning, or no frame."""
        if colour_left or (self._depth is not None and self._depth.read() is not None):
            longer = "colour" if colour_left else "depth"
            self.warn(
                f"{self.name}: the {longer} video is longer, its frames from number {self._round} on are left out"
            )
        if not self._count:
            self.warn(f"{self.name}: holds no frame that can be decoded")
        if not (self._options.loop and self._round):
            return None
        self._round = 0
        for reader in filter(None, (self._colour, self._depth)):
            reader.rewind()
        return self.read(timeout)

    def _metres(self, stored: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
        if stored.shape != size:
            raise CameraError(f"{self.name}: depth is {stored.shape} and colour {size}, expected one size")
        if stored.dtype == np.uint8:
            if not self._options.relative:
                raise CameraError(
                    f"{self.name}: depth of 8 bits has no unit, expected 16 bits a pixel; append ?relative=1 where "
                    "near (bright) and far is all that is wanted"
                )
            self.warn(f"{self.name}: depth of 8 bits has no unit: near and far are right, distances are not")
            return to_metres(stored)
        if stored.dtype == np.uint16:
            return to_metres(stored, self._rule)
        raise CameraError(f"{self.name}: depth is {stored.dtype}, expected 8 or 16 bits a pixel")

    def close(self) -> None:
        """Close both files."""
        self._colour.close()
        if self._depth is not None:
            self._depth.close()


def open_source(target: str, query: Mapping[str, Any]) -> VideoCamera:
    """``target``: as :func:`video.videos` reads it."""
    colour, depth = videos(target)
    return VideoCamera(colour, depth, opts.parse(Options, query, f"video:{target}"))
