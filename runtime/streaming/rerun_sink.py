"""Shows the stream in the rerun viewer: pictures, metric depth as a point cloud, the model's map, latency."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import rerun as rr

from mutualformer.runtime.cameras.base import Camera
from mutualformer.runtime.streaming.sinks import Result


class RerunSink:
    """``file`` None opens the viewer; a path writes a ``.rrd`` file instead (a machine without a screen)."""

    name = "rerun"

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._stream = rr.RecordingStream("mutualformer")

    def open(self, camera: Camera) -> None:
        if self._file is None:
            self._stream.spawn()
        else:
            self._stream.save(str(self._file))
        lens = camera.intrinsics
        if lens is not None:
            matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
            pinhole = rr.Pinhole(image_from_camera=matrix, width=lens.width, height=lens.height)
            self._stream.log("camera", pinhole, static=True)

    def write(self, result: Result) -> None:
        frame = result.frame
        self._stream.set_time("frame", sequence=frame.sequence)
        self._stream.set_time("camera_clock", duration=frame.timestamp)
        self._stream.log("camera/colour", rr.Image(frame.rgb))
        if frame.nir is not None:
            self._stream.log("camera/nir", rr.Image(frame.nir))
        else:
            self._stream.log("camera/depth", rr.DepthImage(frame.depth, meter=1.0))
        if "saliency" in result.outputs:
            grey = cv2.convertScaleAbs(result.outputs["saliency"], alpha=255.0)
            self._stream.log("model/saliency", rr.Image(np.asarray(grey, np.uint8), color_model="L"))
        if result.match is not None:
            self._stream.log("model/match", rr.TextLog(f"{result.match[0]} ({result.match[1]:.3f})"))
        for stage in ("infer", "total"):
            self._stream.log(f"latency_ms/{stage}", rr.Scalars(1e3 * result.stages[stage]))

    def close(self) -> None:
        self._stream.flush()
        self._stream.disconnect()
