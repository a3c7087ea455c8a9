"""Cameras through GStreamer, colour only: ``csi://0`` (Jetson), ``v4l2:///dev/video0?format=mjpg&size=1280x720&fps=30``.

``gst-launch-1.0`` runs as a child and writes frames into a pipe as YUV4MPEG2, whose header holds their size. This needs
no Python bindings of GStreamer, which no wheel contains.
"""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, CameraLost, ColourCamera
from mutualformer.runtime.sources.child import end, fill
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import Frame

PROGRAM = "gst-launch-1.0"
INSTALL = "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
# Option ``format`` → GStreamer's name of what the camera sends.
FORMATS = {
    "": "video/x-raw",
    "yuyv": "video/x-raw,format=YUY2",
    "uyvy": "video/x-raw,format=UYVY",
    "nv12": "video/x-raw,format=NV12",
    "mjpg": "image/jpeg",
}
# The leaky queue of one buffer drops old frames, so that the pipe holds the newest one.
TAIL = "! videoconvert ! video/x-raw,format=I420 ! queue leaky=downstream max-size-buffers=1 ! y4menc ! fdsink fd=1"
START_SECONDS, FRAME_SECONDS = 10.0, 5.0
MOST_LINE = 200


@dataclass(frozen=True)
class Options:
    """``format``, ``size`` and ``fps`` are requested from the camera; empty and 0 leave its defaults."""

    format: str = ""
    size: str = ""
    fps: int = 0


class GstCamera(ColourCamera):
    """``source``: the elements that give raw or encoded pictures, as ``gst-launch-1.0`` writes them, "!" included."""

    def __init__(self, source: Sequence[str], name: str) -> None:
        if shutil.which(PROGRAM) is None:
            raise CameraError(f"{name}: needs GStreamer: {INSTALL}")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the camera
        self._process = subprocess.Popen(
            [PROGRAM, "-q", *source, *TAIL.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
        )
        super().__init__(name, connected=lambda: self._process.poll() is None, stop=self._end)
        try:
            head = self._line(START_SECONDS)
            found = re.search(rb"^YUV4MPEG2 .*W(\d+) H(\d+)", head)
            width, height = map(int, found.groups()) if found else (0, 0)
            # GStreamer pads rows of I420 to 4 bytes, chroma rows have half the width: multiples of 8 need no padding.
            if not 0 < width * height <= MAX_PIXELS or width % 8 or height % 2:
                raise CameraError(
                    f"{name}: GStreamer gives {head[:MOST_LINE]!r}, expected YUV4MPEG2 with a width divisible by 8 and "
                    "an even height; choose another size=WIDTHxHEIGHT"
                )
        except BaseException:
            self.close()
            raise
        self._size = height, width

    def _fill(self, target: memoryview, seconds: float) -> None:
        """Fill ``target`` from the pipe. Raises CameraLost where GStreamer ends or is silent for ``seconds``."""
        if not fill(self._process.stdout, target, seconds):
            raise CameraLost(f"{self.name}: {self._reason()}")

    def _line(self, seconds: float) -> bytes:
        line = bytearray(1)
        while line[-1:] != b"\n" and len(line) < MOST_LINE:
            line.append(0)
            self._fill(memoryview(line)[-1:], seconds)
        return bytes(line[1:])

    def _reason(self) -> str:
        """GStreamer's first error, else a guess."""
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode(errors="replace").splitlines()
        bad = (f"GStreamer says: {line[:MOST_LINE]}" for line in lines if line.startswith("ERROR") or "WARNING" in line)
        return next(bad, "gives no picture any more; is it still plugged in?")

    def grab(self, timeout: float) -> Any:
        """The next picture, I420 (H · 3 / 2, W) uint8; None when none came in time. Raises CameraLost."""
        if not select.select([self._process.stdout], [], [], timeout)[0]:  # type: ignore[type-var]
            return None
        self._line(FRAME_SECONDS)  # the line "FRAME", which precedes each frame
        height, width = self._size
        raw = np.empty((height * 3 // 2, width), np.uint8)
        self._fill(raw.data.cast("B"), FRAME_SECONDS)
        return raw

    def convert(self, raw: Any) -> Frame:
        """As DeviceCamera.convert, of :meth:`grab`'s picture."""
        return self.colour(cv2.cvtColor(raw, cv2.COLOR_YUV2RGB_I420))

    def _end(self) -> None:
        self._process.terminate()
        end(self._process)
        self._errors.close()
        assert self._process.stdout is not None
        self._process.stdout.close()


def elements(target: str, query: Mapping[str, Any], name: str) -> list[str]:
    """The source of a camera: a number is a CSI camera, a path below /dev one of Video4Linux. Raises CameraError."""
    options = opts.parse(Options, query, name)
    if options.format not in FORMATS:
        raise CameraError(f"{name}: format={options.format} is not one of {', '.join(filter(None, FORMATS))}")
    kind = FORMATS[options.format]
    if options.size:
        height, width = opts.size(options.size, name)
        kind += f",width={width},height={height}"
    if options.fps:
        kind += f",framerate={options.fps}/1"
    decoder = ["!", "jpegdec"] if options.format == "mjpg" else []
    # gst-launch-1.0 parses its arguments as a pipeline: these patterns keep an address from adding elements to it.
    if re.fullmatch(r"/dev/[\w./:-]+", target, re.ASCII):
        return ["v4l2src", f"device={target}", "!", kind, *decoder]
    if not re.fullmatch(r"\d{1,3}", target, re.ASCII):
        raise CameraError(f"{name}: expected a number, like csi://0, or a device, like v4l2:///dev/video0")
    memory = kind.replace("video/x-raw", "video/x-raw(memory:NVMM)")
    return ["nvarguscamerasrc", f"sensor-id={target}", "!", memory, "!", "nvvidconv", "!", "video/x-raw"]


def open_source(target: str, query: Mapping[str, Any]) -> GstCamera:
    """``target``: the number of a CSI camera, or a device of Video4Linux."""
    name = f"v4l2://{target}" if target.startswith("/") else f"csi://{target or 0}"
    return GstCamera(elements(target or "0", query, name), name)
