"""One frame as ROS 2 messages, for recordings and for live viewers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.rendering import grey, jpeg, png
from mutualformer.runtime.recording import topics
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.ros_images import DEPTH_HEADER
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


def picture(topic: str, rgb: NDArray[np.uint8], stamp: float, frame_id: str, compress: bool) -> Message:
    """A colour image, as it is or as JPEG."""
    if not compress:
        return topic, ros.IMAGE, ros.write_image(rgb, "rgb8", stamp, frame_id)
    return topic + topics.COMPRESSED, ros.COMPRESSED, ros.write_compressed(jpeg(rgb), "jpeg", stamp, frame_id)


def frame_messages(
    result: Result, depth_scale: float | None, about: dict[str, str], compress: bool = False
) -> Iterator[Message]:
    """All messages of one frame. Its ``frame`` message comes last: a reader ignores a frame without it.

    ``depth_scale``: metres per unit of the camera, None for float depth. ``about``: the recording's
    description (:meth:`RecordingInfo.to_metadata`), repeated with every frame. Pixels are not copied. ``compress``:
    colour as JPEG, depth in millimetres as PNG without loss, saliency as PNG of 256 levels.
    """
    frame = result.frame
    stamp, depth_stamp = frame.timestamp, frame.depth_timestamp
    yield picture(topics.COLOUR, frame.rgb, stamp, "camera_color", compress)
    # Every ROS tool reads 16 bits as millimetres. Other units are written as float metres, which are unambiguous.
    units, encoding = integers(frame.depth, depth_scale if depth_scale == MILLIMETRES else None)
    if compress and encoding == "16UC1":
        packed = bytes(DEPTH_HEADER.size) + png(units)
        form = f"{encoding}; compressedDepth png"
        message = ros.write_compressed(packed, form, depth_stamp, "camera_color")
        yield topics.DEPTH + topics.COMPRESSED_DEPTH, ros.COMPRESSED, message
    else:
        yield topics.DEPTH, ros.IMAGE, ros.write_image(units, encoding, depth_stamp, "camera_color")
    if frame.nir is not None:
        yield picture(topics.NIR, frame.nir, stamp, "camera_nir", compress)
    for name, value in result.outputs.items():
        topic = topics.OUTPUT + name
        if compress and name == "saliency":
            message = ros.write_compressed(png(grey(value)), "mono8; png compressed", stamp, "camera_color")
            yield topic + topics.COMPRESSED, ros.COMPRESSED, message
        else:
            yield topic, ros.IMAGE, ros.write_image(np.atleast_2d(value), "32FC1", stamp, "camera_color")
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
