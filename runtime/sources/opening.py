"""RGB-D sources behind one protocol: ``open("realsense://")``, ``open("tum:FOLDER")``, ``open("recording.db3")`` …

One file per source, imported when it is asked for, so that no SDK is needed but the one in use: devices (plugged in),
folders, recordings, synthetic and moving_room. In reading order: base (what a source is), address (what a text
means), options, pacing (files at their own speed); listing shows what is connected, udev what may not be opened;
child runs a source in a process of its own (child_process) and hears from it (child_pipe).
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from mutualformer.runtime.sources.address import recognise, split
from mutualformer.runtime.sources.base import BaseCamera, Camera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.frame import Frame, Intrinsics

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
    """One kind of source. ``module`` in this package; ``needs``: (import name, pip extra) of its SDK, if any.

    ``whole``: the module is given the address with its scheme.
    """

    scheme: str
    module: str
    example: str
    about: str
    needs: tuple[str, str] | None = None
    usb: tuple[str, ...] = ()
    whole: bool = False


SOURCES: dict[str, Source] = {
    source.scheme: source
    for source in (
        Source(
            scheme="realsense",
            module="devices.realsense",
            example="realsense://[SERIAL]",
            about="Intel RealSense D400 and L500 cameras",
            needs=("pyrealsense2", "realsense"),
            usb=("8086:RealSense", "8086:0b07", "8086:0b3a", "8086:0ad3"),
        ),
        Source(
            scheme="realsense-file",
            module="video.realsense_file",
            example="FILE.db3 or FILE.bag",
            about="recordings made by librealsense",
            needs=("pyrealsense2", "realsense"),
        ),
        Source(
            scheme="oak",
            module="devices.oak",
            example="oak://[DEVICE_ID]",
            about="Luxonis OAK-D cameras",
            needs=("depthai", "oak"),
            usb=("03e7:",),
        ),
        Source(
            scheme="orbbec",
            module="devices.orbbec",
            example="orbbec://[SERIAL]",
            about="Orbbec cameras",
            needs=("pyorbbecsdk", "orbbec"),
            usb=("2bc5:",),
        ),
        Source(
            scheme="openni2",
            module="devices.openni2",
            example="openni2://[INDEX]",
            about="PrimeSense, Asus Xtion and others through OpenCV built with OpenNI2",
            usb=("1d27:", "0b05:0600", "0b05:0601"),
        ),
        Source(
            scheme="tum",
            module="folders.tum",
            example="tum:FOLDER",
            about="TUM RGB-D folders (rgb.txt and depth.txt)",
        ),
        Source(
            scheme="pairs",
            module="folders.pairs",
            example="pairs:RGB_DIR,DEPTH_DIR",
            about="two folders of images with equal file names",
        ),
        Source(
            scheme="recording",
            module=".recording.replay",
            example="recording:FILE.mcap or its folder",
            about="what `--record` writes",
        ),
        Source(
            scheme="rosbag",
            module="bags.rosbag",
            example="rosbag:BAG",
            about="ROS 1 and ROS 2 bags",
        ),
        Source(
            scheme="dataset",
            module="folders.dataset",
            example="FOLDER, dataset:DATA or sample:NAME",
            about="data sets, the real sample, photographs",
        ),
        Source(
            scheme="video",
            module="video.video",
            example="FILE.mp4 or video:COLOUR,DEPTH",
            about="video files, with a depth video or without",
            needs=("av", "video"),
        ),
        Source(
            scheme="webcam",
            module="devices.webcam",
            example="0 or /dev/video0",
            about="ordinary webcams, colour only",
        ),
        Source(
            scheme="v4l2",
            module="devices.gstreamer",
            example="v4l2:///dev/video0",
            about="cameras of Video4Linux through GStreamer, colour only",
        ),
        Source(
            scheme="csi",
            module="devices.gstreamer",
            example="csi://0",
            about="CSI cameras of a Jetson through GStreamer, colour only",
        ),
        *(
            Source(
                scheme=scheme,
                module="devices.network",
                example=f"{scheme}://HOST/PATH",
                about="cameras of the network, colour only",
                needs=("av", "video"),
                whole=True,
            )
            for scheme in ("rtsp", "rtsps", "http", "https")
        ),
        Source(
            scheme="synthetic",
            module="synthetic",
            example="synthetic://?seed=0",
            about="a rendered room, moving; no camera needed",
        ),
    )
}


def open(uri: str, **options: Any) -> BaseCamera:
    """Open a source address; keyword options override those after its ``?``. Raises CameraError in one sentence."""
    scheme, target, query = split(uri, SOURCES)
    source = SOURCES.get(scheme)
    if source is None:
        raise CameraError(
            f"{uri!r} is neither an existing file or folder nor one of the sources {', '.join(sorted(SOURCES))}"
        )
    if source.needs is not None:
        require(*source.needs, what=f"{scheme}:" if source.whole else uri)
    if source.whole:
        target = f"{scheme}://{target}"
    module = importlib.import_module(f".{source.module}", "mutualformer.runtime.sources")
    camera: BaseCamera = module.open_source(target, {**query, **options})
    return camera


def require(module: str, extra: str, what: str) -> None:
    """Raise CameraError naming the pip extra unless ``module`` can be imported (found, not yet imported)."""
    if importlib.util.find_spec(module) is None:
        raise CameraError(f"{what!r} needs the package {module}: pip install 'mutualformer[{extra}]'")
