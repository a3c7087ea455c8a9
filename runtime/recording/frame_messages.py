"""One frame as ROS 2 messages, for recordings and for live viewers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.recording import topics
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.frame import Intrinsics, metres

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result

MILLIMETRES = 0.001
# Topic, message type, and the CDR message in pieces.
Message = tuple[str, str, list[bytes | memoryview]]


def integers(depth: NDArray[np.float32], scale: float | None) -> tuple[NDArray[Any], str]:
    """Metres → 16-bit units where that loses nothing, else the float metres themselves."""
    if scale is not None:
        units = (depth * np.float32(1.0 / scale) + np.float32(0.5)).astype(np.uint16)
        if np.array_equal(metres(units, scale), depth):
            return units, "16UC1"
    return depth, "32FC1"


def info_message(lens: Intrinsics, stamp: float) -> Message:
    """The calibration as CameraInfo. ``stamp``: seconds."""
    return topics.INFO, ros.INFO_TYPE, ros.write_camera_info(lens, stamp, "camera_color")


def frame_messages(result: Result, depth_scale: float | None, about: dict[str, str]) -> Iterator[Message]:
    """All messages of one frame. Its ``frame`` message comes last: a reader ignores a frame without it.

    ``depth_scale``: metres per unit of the camera, None for float depth. ``about``: the recording's
    description (:meth:`RecordingInfo.to_metadata`), repeated with every frame. Pixels are not copied.
    """
    frame = result.frame
    stamp, depth_stamp = frame.timestamp, frame.depth_timestamp
    yield topics.COLOUR, ros.IMAGE, ros.write_image(frame.rgb, "rgb8", stamp, "camera_color")
    # Every ROS tool reads 16 bits as millimetres. Other units are written as float metres, which are unambiguous.
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
