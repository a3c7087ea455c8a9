"""One frame as ROS 2 messages: what a recording holds of it, and what live viewers get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.objects import SalientObject
from mutualformer.runtime.recording import topics
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.frame import Frame, Intrinsics, metres

MILLIMETRES = 0.001
# topic, message type, the CDR message in pieces
Message = tuple[str, str, list[bytes | memoryview]]


class FrameResult(Protocol):
    """The part of ``streaming.sinks.Result`` used here."""

    @property
    def frame(self) -> Frame:
        """The frame as the camera gave it."""

    @property
    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """Tensor name → the model's answer without its batch axis."""

    @property
    def stages(self) -> dict[str, float]:
        """Stage → seconds."""

    @property
    def dropped(self) -> int:
        """Frames lost so far because the model was busy."""

    @property
    def match(self) -> tuple[str, float] | None:
        """(identity, cosine similarity) of a ReID model with a gallery, else None."""

    @property
    def objects(self) -> tuple[SalientObject, ...]:
        """What the saliency shows, the nearest first."""


def integers(depth: NDArray[np.float32], scale: float | None) -> tuple[NDArray[Any], str]:
    """Metres → the 16-bit units they were made of, if they were; else the float metres. Never rounded."""
    if scale is not None:
        units = (depth * np.float32(1.0 / scale) + np.float32(0.5)).astype(np.uint16)
        if np.array_equal(metres(units, scale), depth):
            return units, "16UC1"
    return depth, "32FC1"


def info_message(lens: Intrinsics, stamp: float) -> Message:
    """The calibration as CameraInfo. ``stamp``: seconds."""
    return topics.INFO, ros.INFO_TYPE, ros.write_camera_info(lens, stamp, "camera_color")


def frame_messages(result: FrameResult, depth_scale: float | None, about: dict[str, str]) -> Iterator[Message]:
    """All of one frame; its ``frame`` message comes last: a reader takes no frame without it.

    ``depth_scale``: metres per unit of the camera, None for float depth. ``about``: what the recording says about
    itself (:meth:`RecordingInfo.to_metadata`), repeated with every frame. Pixels are not copied.
    """
    frame = result.frame
    stamp, depth_stamp = frame.timestamp, frame.depth_timestamp
    yield topics.COLOUR, ros.IMAGE, ros.write_image(frame.rgb, "rgb8", stamp, "camera_color")
    # 16 bits are millimetres to every ROS tool; other units go as float metres, which nobody misreads.
    units, encoding = integers(frame.depth, depth_scale if depth_scale == MILLIMETRES else None)
    yield topics.DEPTH, ros.IMAGE, ros.write_image(units, encoding, depth_stamp, "camera_color")
    if frame.nir is not None:
        yield topics.NIR, ros.IMAGE, ros.write_image(frame.nir, "rgb8", stamp, "camera_nir")
    for name, value in result.outputs.items():
        table = np.atleast_2d(value)
        yield topics.OUTPUT + name, ros.IMAGE, ros.write_image(table, "32FC1", stamp, "camera_color")
    facts = {
        "sequence": frame.sequence,
        "timestamp": stamp,
        "depth_timestamp": depth_stamp,
        "stages": result.stages,
        "dropped": result.dropped,
        "match": result.match,
        "objects": [one.to_json() for one in result.objects],
        "about": about,
    }
    yield topics.FRAME, ros.STRING, ros.write_text(json.dumps(facts))
