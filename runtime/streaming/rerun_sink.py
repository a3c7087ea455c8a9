"""Show the stream in rerun: pictures, metric depth as a point cloud, the model's map, latency.

The target is a viewer on this or another machine, a ``.rrd`` file, or a server on a device without a screen. It is
tried before the camera is opened, and a target that does not work is an error: rerun itself only logs it.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import rerun as rr

from mutualformer.errors import InputError
from mutualformer.extras import install
from mutualformer.runtime.environment import variables
from mutualformer.runtime.preview.addresses import LARGEST_PORT
from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.streaming.sinks import Result

PORT = 9876
VIEWER_SECONDS = 15.0
# Log data kept for viewers that connect later; the oldest is dropped first.
SERVED_MEMORY = "512MiB"


class RerunError(InputError):
    """The target of ``--rerun`` cannot be used."""


@dataclass(frozen=True)
class RerunTarget:
    """``kind``: "viewer" (started here), "file", "serve" or "connect". ``value``: path or address."""

    kind: str
    value: str = ""
    port: int = PORT


def target(text: str) -> RerunTarget:
    """What ``--rerun TEXT`` asks for. Raises RerunError.

    Nothing: a viewer on this machine. ``X.rrd``: a file. ``serve`` or ``0.0.0.0:PORT``: a server for viewers
    elsewhere. ``rerun+http://HOST:PORT/proxy``: a viewer or server that runs already.
    """
    if not text:
        return RerunTarget("viewer")
    if text.startswith("rerun+http"):
        try:
            parts = urlsplit(text)
            return RerunTarget("connect", text, parts.port or PORT)
        except ValueError as error:
            raise RerunError(f"--rerun {text}: {error}") from error
    if text.endswith(".rrd"):
        return RerunTarget("file", text)
    if text == "serve":
        return RerunTarget("serve")
    served = re.fullmatch(r"(.*):([0-9]{1,5})", text, re.ASCII)
    if served and int(served[2]) <= LARGEST_PORT and "/" not in served[1]:
        if served[1].strip("[]") not in ("0.0.0.0", "::"):
            raise RerunError(
                f"--rerun {text}: rerun's server always listens on every address and knows no token; write "
                f"--rerun 0.0.0.0:{served[2]} if that is wanted, else a file (X.rrd) or no value for a viewer here"
            )
        return RerunTarget("serve", port=int(served[2]))
    raise RerunError(
        f"--rerun {text}: expected a file ending in .rrd, serve, 0.0.0.0:PORT, rerun+http://HOST:PORT/proxy, or "
        "nothing (put --rerun after the sources then)"
    )


class RerunSink:
    """Logs every result of one camera.

    Raises RerunError where the viewer, file or address cannot be used.
    """

    name = "rerun"

    def __init__(self, to: RerunTarget) -> None:
        self._target, self._prefix = to, ""
        self._stream: Any = rr.RecordingStream("mutualformer")
        self._url = ""
        getattr(self, f"_{to.kind}")()

    def sibling(self, prefix: str) -> RerunSink:
        """The sink of one of several cameras into the same recording; ``prefix``: in front of every entity."""
        other = copy.copy(self)
        other._prefix = prefix
        return other

    def _viewer(self) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise RerunError(
                "--rerun: this machine has no screen (DISPLAY is not set); write a file (--rerun X.rrd) or serve "
                "viewers elsewhere (--rerun serve)"
            )
        # Programs beside this interpreter are found even where its environment was not activated.
        with variables({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}):
            if shutil.which("rerun") is None:
                raise RerunError(f"--rerun: the viewer 'rerun' is not in PATH: {install('rerun')}")
            try:
                self._stream.spawn()
            except RuntimeError as error:
                raise RerunError(f"--rerun: the viewer did not start ({str(error).splitlines()[0]})") from error
        _await("127.0.0.1", PORT, "the viewer started and did not answer; is there a working display?")

    def _file(self) -> None:
        path = Path(self._target.value)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream.save(str(path))
        except (OSError, RuntimeError) as error:
            raise RerunError(f"--rerun {path}: the file cannot be written ({error})") from error

    def _serve(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", self._target.port))
            except OSError as error:
                reason = error.strerror or error
                raise RerunError(f"--rerun: port {self._target.port} cannot be served ({reason})") from error
        self._url = str(self._stream.serve_grpc(grpc_port=self._target.port, server_memory_limit=SERVED_MEMORY))
        _await("127.0.0.1", self._target.port, "the server did not start")

    def _connect(self) -> None:
        host = urlsplit(self._target.value).hostname or "127.0.0.1"
        _await(host, self._target.port, "nobody answers there", seconds=3.0)
        self._stream.connect_grpc(self._target.value)

    @property
    def warning(self) -> str:
        """One sentence where other machines can connect without a token, else empty."""
        if self._target.kind != "serve":
            return ""
        return f"anyone who reaches port {self._target.port} of this machine can watch: rerun's server knows no token"

    def open(self, camera: BaseCamera) -> None:
        """Log the pinhole camera once, where the source knows its calibration."""
        lens = camera.intrinsics
        if lens is not None:
            matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
            pinhole = rr.Pinhole(image_from_camera=matrix, width=lens.width, height=lens.height)
            self._log("camera", pinhole, static=True)

    def write(self, result: Result) -> None:
        """Log the frame, the model's answer and its latency (ms) under the frame's number and camera time."""
        frame = result.frame
        self._stream.set_time("frame", sequence=frame.sequence)
        self._stream.set_time("camera_clock", duration=frame.timestamp)
        self._log("camera/colour", rr.Image(frame.rgb))
        if frame.nir is not None:
            self._log("camera/nir", rr.Image(frame.nir))
        else:
            self._log("camera/depth", rr.DepthImage(frame.depth, meter=1.0))
        if "saliency" in result.outputs:
            grey = cv2.convertScaleAbs(result.outputs["saliency"], alpha=255.0)
            self._log("model/saliency", rr.Image(np.asarray(grey, np.uint8), color_model="L"))
            self._log("camera/objects", self._boxes(result))
        if result.match is not None:
            self._log("model/match", rr.TextLog(f"{result.match[0]} ({result.match[1]:.3f})"))
        for stage in ("infer", "total"):
            self._log(f"latency_ms/{stage}", rr.Scalars(1e3 * result.stages[stage]))

    @staticmethod
    def _boxes(result: Result) -> Any:
        """Each object's box with its distance, drawn upon the colour picture."""
        objects, shape = result.objects, result.frame.rgb.shape[:2]
        edges = np.array([one.pixels(*shape) for one in objects], np.float32).reshape(-1, 4)
        labels = ["?" if one.distance_m is None else f"{one.distance_m:.2f} m" for one in objects]
        numbers = [one.identity or 0 for one in objects]
        return rr.Boxes2D(array=edges, array_format=rr.Box2DFormat.XYXY, labels=labels, class_ids=numbers)

    def _log(self, entity: str, value: Any, static: bool = False) -> None:
        self._stream.log("/".join(filter(None, (self._prefix, entity))), value, static=static)

    def close(self) -> None:
        """Write out everything that was logged. Raises RerunError; rerun's own writer gives no reason."""
        try:
            self._stream.flush()
        except (OSError, RuntimeError) as error:
            what = f"not everything was written ({error}); is the disk full, or the viewer gone?"
            raise RerunError(f"--rerun {self._target.value}: {what}") from error

    def finish(self) -> None:
        """End the recording for all of its sinks."""
        self._stream.disconnect()

    def details(self) -> dict[str, Any]:
        """``url``: what a viewer opens; empty where none serves."""
        return {"url": self._url} if self._url else {}


def _await(host: str, port: int, otherwise: str, seconds: float = VIEWER_SECONDS) -> None:
    """Wait until ``port`` accepts connections. Raises RerunError with the sentence ``otherwise``."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), 1.0).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise RerunError(f"--rerun: {host}:{port}: {otherwise}") from error
            time.sleep(0.1)
