"""One frame and the model's answer as ROS 2 messages in CDR: what a recording holds and a live viewer is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from mutualformer.runtime.cameras.base import Camera
from mutualformer.runtime.recording import ros_messages as ros
from mutualformer.runtime.streaming.recorder import integers
from mutualformer.runtime.streaming.sinks import Result

Pieces = list[bytes | memoryview]
IMAGE = "sensor_msgs/msg/Image"
INFO = "sensor_msgs/msg/CameraInfo"
TEXT = "std_msgs/msg/String"


def frame_messages(result: Result, camera: Camera) -> Iterator[tuple[str, str, Pieces]]:
    """(topic, type, CDR in pieces) of everything in ``result``; the type is a key of ``ros_messages.SCHEMAS``.

    The calibration comes first, the description of the frame last: a reader takes no frame without it.
    """
    frame, lens = result.frame, camera.intrinsics
    stamp, depth_stamp = max(0.0, frame.timestamp), max(0.0, frame.depth_timestamp)
    if lens is not None:
        yield ros.INFO, INFO, ros.write_camera_info(lens, stamp, "camera_color")
    yield ros.COLOUR, IMAGE, ros.write_image(frame.rgb, "rgb8", stamp, "camera_color")
    units, encoding = integers(frame.depth, camera.depth_scale)
    yield ros.DEPTH, IMAGE, ros.write_image(units, encoding, depth_stamp, "camera_color")
    if frame.nir is not None:
        yield ros.NIR, IMAGE, ros.write_image(frame.nir, "rgb8", stamp, "camera_nir")
    for name, value in result.outputs.items():
        yield ros.OUTPUT + name, IMAGE, ros.write_image(np.atleast_2d(value), "32FC1", stamp, "camera_color")
    about = {
        "sequence": frame.sequence,
        "timestamp": frame.timestamp,
        "depth_timestamp": frame.depth_timestamp,
        "stages": result.stages,
        "dropped": result.dropped,
        "match": result.match,
    }
    yield ros.FRAME, TEXT, ros.write_text(json.dumps(about))
