"""Luxonis OAK-D cameras through depthai 3: colour and stereo depth, aligned and paired on the device, in metres.

Options: ``size=640x400 fps=30``; the device's own filters stay at their defaults.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import depthai as dai
import numpy as np

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, DeviceCamera
from mutualformer.runtime.sources.frame import Frame, Intrinsics

SCALE = 0.001
# Colour and depth of one moment differ by at most half a frame at 30 fps.
SYNC_SECONDS = 0.017


@dataclass(frozen=True)
class Options:
    """The options of the address; the module's docstring explains them."""

    size: str = "640x400"
    fps: float = 30.0


def build(pipeline: Any, options: Options, size: tuple[int, int], on_rvc4: bool) -> Any:
    """Colour camera and stereo depth aligned to it, joined by a Sync node; returns the Sync node's output.

    ``size``: (height, width) in pixels. ``on_rvc4``: the newer chip (OAK 4) aligns in a node of its own.
    """
    width, height = size[1], size[0]
    colour = pipeline.create(dai.node.Camera).build(dai.CameraBoardSocket.CAM_A)
    rgb = colour.requestOutput((width, height), dai.ImgFrame.Type.RGB888i, fps=options.fps, enableUndistortion=True)
    stereo = pipeline.create(dai.node.StereoDepth)
    for socket, side in ((dai.CameraBoardSocket.CAM_B, stereo.left), (dai.CameraBoardSocket.CAM_C, stereo.right)):
        eye = pipeline.create(dai.node.Camera).build(socket)
        eye.requestOutput((640, 400), fps=options.fps).link(side)
    stereo.setSubpixel(True)
    stereo.setLeftRightCheck(True)
    if on_rvc4:
        align = pipeline.create(dai.node.ImageAlign)
        stereo.depth.link(align.input)
        rgb.link(align.inputAlignTo)
        depth = align.outputAligned
    else:
        stereo.setOutputSize(width, height)
        rgb.link(stereo.inputAlignTo)
        depth = stereo.depth
    sync = pipeline.create(dai.node.Sync)
    sync.setSyncThreshold(datetime.timedelta(seconds=SYNC_SECONDS))
    rgb.link(sync.inputs["rgb"])
    depth.link(sync.inputs["depth"])
    return sync.out


class OakCamera(DeviceCamera):
    """Reads message groups of ``rgb`` and ``depth`` from depthai's ``queue``.

    ``connected``, ``stop``, ``intrinsics``: as of DeviceCamera.
    """

    lost = (RuntimeError, dai.MessageQueue.QueueException)

    def __init__(
        self,
        queue: Any,
        name: str,
        **rest: Any,
    ) -> None:
        super().__init__(name, depth_scale=SCALE, **rest)
        self._queue = queue

    def grab(self, timeout: float) -> Any:
        """As DeviceCamera.grab: a message group with "rgb" and "depth"."""
        return self._queue.get(datetime.timedelta(seconds=timeout))

    def convert(self, raw: Any) -> Frame:
        """As DeviceCamera.convert; times in the device's clock. Raises CameraError where the sizes differ."""
        colour, depth = raw["rgb"], raw["depth"]
        bgr = colour.getCvFrame()
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        units = np.asarray(depth.getFrame())
        stamps = [message.getTimestamp().total_seconds() for message in (colour, depth)]
        return self.frame(rgb, units, SCALE, stamps, int(colour.getSequenceNum()))


def calibration(device: Any, size: tuple[int, int]) -> Intrinsics:
    """Factory calibration of the colour camera at ``size`` (height, width); the image is undistorted on the device."""
    height, width = size
    matrix = device.readCalibration().getCameraIntrinsics(dai.CameraBoardSocket.CAM_A, width, height)
    return Intrinsics(width, height, matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2])


def open_source(target: str, query: Mapping[str, Any]) -> OakCamera:
    """``target``: a device id, name or address, or empty for the first camera."""
    name = f"oak://{target}"
    options = opts.parse(Options, query, name)
    size = opts.size(options.size, name)
    # ``dai.Device()`` without a camera blocks for eleven seconds; the list takes half a second.
    devices = dai.Device.getAllAvailableDevices()
    fitting = [info for info in devices if not target or target in (info.getDeviceId(), info.name)]
    if not fitting:
        present = ", ".join(info.getDeviceId() for info in devices) or "none"
        raise CameraError(f"{name}: no such OAK camera (connected: {present}); check cable, power and udev rules")
    try:
        device = dai.Device(fitting[0])
        pipeline = dai.Pipeline(device)
        queue = build(pipeline, options, size, device.getPlatform() == dai.Platform.RVC4).createOutputQueue(
            maxSize=1, blocking=False
        )
        pipeline.start()
    except RuntimeError as error:
        raise CameraError(f"{name}: cannot start {options.size} at {options.fps:g} fps ({error})") from error

    def stop() -> None:
        pipeline.stop()
        device.close()

    lens = calibration(device, size)
    return OakCamera(
        queue, f"oak://{fitting[0].getDeviceId()}", connected=pipeline.isRunning, stop=stop, intrinsics=lens
    )
