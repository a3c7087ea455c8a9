"""Intel RealSense cameras through librealsense: depth filtered if wished, then aligned to colour, in metres.

Options: ``size=640x480 fps=30``, ``spatial temporal holes`` (librealsense's filters, off by default: they invent
depth), ``align=0`` where colour and depth already share one view, ``second=infrared`` for the left infrared image
(ReID; as the sensor sees it, not aligned to colour), ``max_skew`` seconds between colour and depth of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, DeviceCamera, chosen
from mutualformer.runtime.sources.frame import Frame, Intrinsics, metres


@dataclass(frozen=True)
class Filters:
    """Options of cameras and recordings; the module's docstring explains them."""

    spatial: bool = False
    temporal: bool = False
    holes: bool = False
    align: bool = True


@dataclass(frozen=True)
class Options(Filters):
    """Options of a camera; the module's docstring explains them."""

    size: str = "640x480"
    fps: int = 30
    second: str = "depth"
    max_skew: float = 0.05


def calibration(profile: Any) -> Intrinsics:
    """librealsense's intrinsics of a video stream profile."""
    lens = profile.as_video_stream_profile().intrinsics
    model = str(lens.model).rsplit(".", 1)[-1]
    return Intrinsics(lens.width, lens.height, lens.fx, lens.fy, lens.ppx, lens.ppy, model, tuple(lens.coeffs))


def same_view(depth: Any, colour: Any) -> bool:
    """True where two stream profiles share lens and pose: alignment would change nothing, only cost time."""
    one, two = calibration(depth), calibration(colour)
    pose = depth.get_extrinsics_to(colour)
    return one == two and np.allclose(pose.rotation, np.eye(3).ravel()) and np.allclose(pose.translation, 0)


def compose(depth: Any, colour: Any) -> Any:
    """One frameset of a depth frame and a colour frame that belong together."""
    queue = rs.frame_queue(1)
    block = rs.processing_block(lambda frame, out: out.frame_ready(out.allocate_composite_frame([depth, colour])))
    block.start(queue)
    block.invoke(colour)
    return queue.wait_for_frame(1000).as_frameset()


class Converter:
    """librealsense frames → :class:`Frame`, with the filters and the alignment the options ask for."""

    def __init__(self, options: Filters) -> None:
        self._options = options
        self._align = rs.align(rs.stream.color)
        self._filters: list[Any] = [rs.spatial_filter()] if options.spatial else []
        self._filters += [rs.temporal_filter()] if options.temporal else []
        if self._filters:  # librealsense smooths disparity, where the sensor's noise is even
            self._filters = [rs.disparity_transform(True), *self._filters, rs.disparity_transform(False)]
        if options.holes:
            self._filters.append(rs.hole_filling_filter())
        self._aligned: bool | None = None

    def __call__(self, depth: Any, colour: Any, infrared: Any = None, scale: float | None = None) -> Frame:
        """``depth``: Z16 frame; ``colour``: RGB8 or BGR8 frame; ``infrared``: Y8 frame or None; ``scale``: metres."""
        stamps = colour.get_timestamp() / 1000, depth.get_timestamp() / 1000
        for step in self._filters:
            depth = step.process(depth)
        if self._aligned is None:
            self._aligned = not self._options.align or same_view(depth.profile, colour.profile)
        if not self._aligned:
            depth = self._align.process(compose(depth.as_depth_frame(), colour)).get_depth_frame()
        units = np.asanyarray(depth.get_data())
        # A copy: librealsense has a few buffers and takes them back, which would change a frame in someone's hands.
        rgb: NDArray[np.uint8] = np.array(colour.get_data(), np.uint8)
        if colour.profile.format() == rs.format.bgr8:
            rgb = np.ascontiguousarray(rgb[..., ::-1])
        if rgb.ndim != 3 or rgb.shape[:2] != units.shape:
            raise CameraError(f"colour is {rgb.shape} and depth {units.shape}, expected RGB of one size; set align=1")
        nir = None
        if infrared is not None:
            grey = np.asanyarray(infrared.get_data())
            nir = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        metric = metres(units, scale or depth.as_depth_frame().get_units())
        return Frame(rgb, metric, stamps[0], stamps[1], int(colour.get_frame_number()), nir)


class RealSenseCamera(DeviceCamera):
    """Reads framesets; each colour and each depth frame is delivered at most once.

    ``framesets``: a started ``rs.pipeline``, or a ``rs.syncer``. ``rest``: as of DeviceCamera.
    """

    def __init__(self, framesets: Any, name: str, options: Options, **rest: Any) -> None:
        super().__init__(name, **rest)
        self._framesets = framesets
        self._convert = Converter(options)
        self._nir, self._max_skew = options.second == "infrared", options.max_skew
        self._depth: Any = None
        self._colour: Any = None
        self._infrared: Any = None
        self._seen = (-1, -1)

    def grab(self, timeout: float) -> Any:
        """As DeviceCamera.grab: a frameset, at times with one half only."""
        arrived, frames = self._framesets.try_wait_for_frames(max(1, int(1000 * timeout)))
        return frames if arrived else None

    def convert(self, raw: Any) -> Frame | None:
        """A frame once both halves are new and of one moment; librealsense may bring them in one set or in two."""
        depth, colour = raw.get_depth_frame(), raw.get_color_frame()
        if depth and depth.get_frame_number() > self._seen[1]:
            self._depth = depth
        if colour and colour.get_frame_number() > self._seen[0]:
            self._colour = colour
            self._infrared = raw.get_infrared_frame(1) if self._nir else None
        if self._depth is None or self._colour is None or (self._nir and not self._infrared):
            return None
        lag = (self._colour.get_timestamp() - self._depth.get_timestamp()) / 1000
        if abs(lag) > self._max_skew:  # the older half has lost its partner
            if lag > 0:
                self._depth = None
            else:
                self._colour = None
            return None
        depth, colour, self._depth, self._colour = self._depth, self._colour, None, None
        self._seen = int(colour.get_frame_number()), int(depth.get_frame_number())
        return self._convert(depth, colour, self._infrared, self.depth_scale)


def serials(context: Any) -> list[str]:
    """Serial numbers of what is plugged in; milliseconds, where ``pipeline.start`` would block for 15 seconds."""
    return [device.get_info(rs.camera_info.serial_number) for device in context.query_devices()]


def open_source(target: str, query: Mapping[str, Any]) -> RealSenseCamera:
    """``target``: a serial number, or empty for the first camera."""
    name = f"realsense://{target}"
    options = opts.parse(Options, query, name)
    height, width = opts.size(options.size, name)
    if options.second not in ("depth", "infrared"):
        raise CameraError(f"{name}: second is {options.second!r}, expected depth or infrared")
    context = rs.context()
    serial = chosen(target, serials(context), name, "cable, USB 3 port and udev rules")
    config, pipeline = rs.config(), rs.pipeline(context)
    config.enable_device(serial)
    config.enable_stream(rs.stream.depth, width, height, rs.format.z16, options.fps)
    config.enable_stream(rs.stream.color, width, height, rs.format.rgb8, options.fps)
    if options.second == "infrared":
        config.enable_stream(rs.stream.infrared, 1, width, height, rs.format.y8, options.fps)
    try:
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise CameraError(
            f"{name}: cannot start {options.size} at {options.fps} fps ({error}); try another size, fps or USB port"
        ) from error
    return RealSenseCamera(
        pipeline,
        f"realsense://{serial}",
        options,
        connected=lambda: serial in serials(context),
        stop=pipeline.stop,
        intrinsics=calibration(profile.get_stream(rs.stream.color)),
        depth_scale=float(profile.get_device().first_depth_sensor().get_depth_scale()),
    )
