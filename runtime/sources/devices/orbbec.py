"""Orbbec cameras through pyorbbecsdk 2: depth aligned to colour by the SDK, in metres.

Options: ``size=640x480 fps=30``. Their wheel wants numpy below 2 on Python before 3.12, hence an extra of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyorbbecsdk as ob

from mutualformer.runtime.sources import options as opts
from mutualformer.runtime.sources.base import CameraError, DeviceCamera, chosen
from mutualformer.runtime.sources.frame import Frame, Intrinsics


@dataclass(frozen=True)
class Options:
    """The options of the address; the module's docstring explains them."""

    size: str = "640x480"
    fps: int = 30


class OrbbecCamera(DeviceCamera):
    """Reads framesets of the SDK's pipeline, aligns them (``align``: frameset → frameset), converts them.

    ``connected``, ``stop``, ``intrinsics``: as of DeviceCamera.
    """

    lost = (ob.OBError, RuntimeError)

    def __init__(
        self,
        framesets: Any,
        name: str,
        *,
        align: Callable[[Any], Any] = lambda frames: frames,
        **rest: Any,
    ) -> None:
        super().__init__(name, **rest)
        self._framesets, self._align = framesets, align

    def grab(self, timeout: float) -> Any:
        """As DeviceCamera.grab: a frameset, at times with one half only."""
        return self._framesets.wait_for_frames(max(1, int(1000 * timeout)))

    def convert(self, raw: Any) -> Frame | None:
        """None for a set that lacks one half."""
        if raw.get_color_frame() is None or raw.get_depth_frame() is None:
            return None
        aligned = self._align(raw)
        if aligned is None:
            return None
        aligned = aligned.as_frame_set() if hasattr(aligned, "as_frame_set") else aligned
        colour, depth = aligned.get_color_frame(), aligned.get_depth_frame()
        if colour is None or depth is None:
            return None
        # RGB is what open_source asks for; a copy, because the SDK takes the frame's memory back.
        rgb = np.frombuffer(colour.get_data(), np.uint8).reshape(colour.get_height(), colour.get_width(), 3).copy()
        units = np.frombuffer(depth.get_data(), np.uint16).reshape(depth.get_height(), depth.get_width())
        # The SDK gives millimetres per unit.
        self.depth_scale = float(depth.get_depth_scale()) / 1000
        stamps = colour.get_timestamp_us() / 1e6, depth.get_timestamp_us() / 1e6
        return self.frame(rgb, units, self.depth_scale, stamps, int(colour.get_index()))


def serials(context: Any) -> list[str]:
    """Serial numbers of the connected cameras; ``context``: the SDK's."""
    devices = context.query_devices()
    return [devices.get_device_serial_number_by_index(index) for index in range(devices.get_count())]


def open_source(target: str, query: Mapping[str, Any]) -> OrbbecCamera:
    """``target``: a serial number, or empty for the first camera."""
    name = f"orbbec://{target}"
    options = opts.parse(Options, query, name)
    height, width = opts.size(options.size, name)
    context = ob.Context()
    serial = chosen(target, serials(context), name, "cable and udev rules")
    pipeline, config = ob.Pipeline(context.query_devices().get_device_by_serial_number(serial)), ob.Config()
    try:
        streams = []
        for sensor, kind in (
            (ob.OBSensorType.COLOR_SENSOR, ob.OBFormat.RGB),
            (ob.OBSensorType.DEPTH_SENSOR, ob.OBFormat.Y16),
        ):
            profiles = pipeline.get_stream_profile_list(sensor)
            streams.append(profiles.get_video_stream_profile(width, height, kind, options.fps))
            config.enable_stream(streams[-1])
        config.set_frame_aggregate_output_mode(ob.OBFrameAggregateOutputMode.FULL_FRAME_REQUIRE)
        pipeline.enable_frame_sync()
        pipeline.start(config)
    except (ob.OBError, RuntimeError) as error:
        raise CameraError(
            f"{name}: cannot start {options.size} at {options.fps} fps ({error}); try another size or fps"
        ) from error
    lens = streams[0].get_intrinsic()
    return OrbbecCamera(
        pipeline,
        f"orbbec://{serial}",
        align=ob.AlignFilter(align_to_stream=ob.OBStreamType.COLOR_STREAM).process,
        connected=lambda: serial in serials(context),
        stop=pipeline.stop,
        intrinsics=Intrinsics(width, height, lens.fx, lens.fy, lens.cx, lens.cy),
    )
