"""RGB-D sources behind one protocol: ``open("realsense://")``, ``open("tum:FOLDER")``, ``open("recording.db3")`` …

One file per source, imported when it is asked for, so that no SDK is needed but the one in use.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from mutualformer.runtime.cameras.address import recognise, split
from mutualformer.runtime.cameras.base import (
    BaseCamera,
    Camera,
    CameraError,
    CameraLost,
    CameraTimeout,
    Frame,
    Intrinsics,
)

__all__ = [
    "SOURCES",
    "BaseCamera",
    "Camera",
    "CameraError",
    "CameraLost",
    "CameraTimeout",
    "Frame",
    "Intrinsics",
    "Source",
    "open",
    "recognise",
    "require",
]


@dataclass(frozen=True)
class Source:
    """One kind of source. ``module`` in this package; ``needs``: (import name, pip extra) of its SDK, if any."""

    scheme: str
    module: str
    example: str
    about: str
    needs: tuple[str, str] | None = None
    usb: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    source.scheme: source
    for source in (
        Source(
            "realsense",
            "realsense",
            "realsense://[SERIAL]",
            "Intel RealSense D400 and L500 cameras",
            ("pyrealsense2", "realsense"),
            ("8086:RealSense", "8086:0b07", "8086:0b3a", "8086:0ad3"),
        ),
        Source(
            "realsense-file",
            "realsense_file",
            "FILE.db3 or FILE.bag",
            "recordings made by librealsense",
            ("pyrealsense2", "realsense"),
        ),
        Source("oak", "oak", "oak://[DEVICE_ID]", "Luxonis OAK-D cameras", ("depthai", "oak"), ("03e7:",)),
        Source("orbbec", "orbbec", "orbbec://[SERIAL]", "Orbbec cameras", ("pyorbbecsdk", "orbbec"), ("2bc5:",)),
        Source(
            "openni2",
            "openni2",
            "openni2://[INDEX]",
            "PrimeSense, Asus Xtion and others through OpenCV built with OpenNI2",
            None,
            ("1d27:", "0b05:0600", "0b05:0601"),
        ),
        Source("tum", "tum", "tum:FOLDER", "TUM RGB-D folders (rgb.txt and depth.txt)"),
        Source("pairs", "pairs", "pairs:RGB_DIR,DEPTH_DIR", "two folders of images with equal file names"),
        Source("recording", "recording", "recording:FILE.mcap or its folder", "what `--record` writes"),
        Source("rosbag", "rosbag", "rosbag:BAG", "ROS 1 and ROS 2 bags"),
        Source("synthetic", "synthetic", "synthetic://?seed=0", "a moving scene made by numpy, no camera needed"),
    )
}


def open(uri: str, **options: Any) -> Camera:
    """Open a source address; keyword options override those after its ``?``. Raises CameraError in one sentence."""
    scheme, target, given = split(uri, SOURCES)
    source = SOURCES.get(scheme)
    if source is None:
        raise CameraError(
            f"{uri!r} is neither an existing file or folder nor one of the sources {', '.join(sorted(SOURCES))}"
        )
    if source.needs is not None:
        require(*source.needs, what=uri)
    module = importlib.import_module(f"mutualformer.runtime.cameras.{source.module}")
    camera: Camera = module.open_source(target, {**given, **options})
    return camera


def require(module: str, extra: str, what: str) -> None:
    """Raise CameraError naming the pip extra unless ``module`` can be imported (found, not yet imported)."""
    if importlib.util.find_spec(module) is None:
        raise CameraError(f"{what!r} needs the package {module}: pip install 'mutualformer[{extra}]'")
