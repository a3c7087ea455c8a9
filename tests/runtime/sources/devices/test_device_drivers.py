"""OAK, Orbbec and OpenNI2 without hardware: the vendors' own objects where a host has them, else their shape."""

from __future__ import annotations

import ctypes
import datetime
import importlib.util
import sys
import types
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.devices import openni2
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.pipeline import Pipeline

needs_depthai = pytest.mark.skipif(
    importlib.util.find_spec("depthai") is None, reason="depthai is not installed (pip install '.[oak]')"
)


def picture(index: int) -> tuple[np.ndarray, np.ndarray]:
    """BGR (6, 8, 3) uint8 and millimetres (6, 8) uint16."""
    bgr = np.zeros((6, 8, 3), np.uint8)
    bgr[..., 0], bgr[..., 2] = index, 200
    return bgr, np.full((6, 8), 1000 + index, np.uint16)


@pytest.fixture
def host_sync() -> Iterator[tuple[Any, Any, Any]]:
    """depthai's real Sync node on the host: (colour input, depth input, pipeline with output queue ``out``)."""
    dai = pytest.importorskip("depthai")
    pipeline = dai.Pipeline(False)
    sync = pipeline.create(dai.node.Sync)
    sync.setRunOnHost(True)
    sync.setSyncThreshold(datetime.timedelta(seconds=0.017))
    inputs = sync.inputs["rgb"].createInputQueue(), sync.inputs["depth"].createInputQueue()
    out = sync.out.createOutputQueue(maxSize=8, blocking=False)
    pipeline.start()
    yield inputs, out, pipeline
    pipeline.stop()
    # depthai's destructor joins the node's thread and now and then never returns: this pipeline is not destroyed.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pipeline))


def send(inputs: Any, index: int, lag: float = 0.0) -> None:
    import depthai as dai

    bgr, units = picture(index)
    for queue, pixels, kind, delay in (
        (inputs[0], bgr, dai.ImgFrame.Type.BGR888i, 0.0),
        (inputs[1], units, dai.ImgFrame.Type.RAW16, lag),
    ):
        message = dai.ImgFrame()
        if pixels.ndim == 3:
            message.setCvFrame(pixels, kind)
        else:
            message.setFrame(pixels)
        message.setType(kind)
        message.setWidth(8)
        message.setHeight(6)
        message.setSequenceNum(index)
        message.setTimestamp(datetime.timedelta(seconds=index / 30 + delay))
        queue.send(message)


@needs_depthai
def test_oak_reads_synchronised_groups(host_sync: tuple[Any, Any, Any]) -> None:
    from mutualformer.runtime.sources.devices.oak import OakCamera

    inputs, out, _ = host_sync
    camera = OakCamera(out, "oak://host")
    for index in range(10):
        send(inputs, index, lag=0.004)
        frame = camera.read(2.0)
        assert frame is not None
        assert frame.sequence == index
        assert tuple(frame.rgb[0, 0]) == (200, 0, index), "RGB order"
        assert frame.depth[2, 3] == pytest.approx(1 + index / 1000)
        assert frame.timestamp == pytest.approx(index / 30, abs=1e-5)
        assert frame.skew == pytest.approx(-0.004, abs=1e-5)


@needs_depthai
def test_oak_times_out_and_is_lost_when_its_queue_is_closed(host_sync: tuple[Any, Any, Any]) -> None:
    from mutualformer.runtime.sources.devices.oak import OakCamera

    _, out, _ = host_sync
    camera = OakCamera(out, "oak://host")
    with pytest.raises(CameraTimeout, match=r"within 0\.1 s"):
        camera.read(0.1)
    out.close()  # what depthai does when the device is gone
    with pytest.raises(CameraLost, match="oak://host"):
        camera.read(0.1)
    unplugged = OakCamera(types.SimpleNamespace(get=lambda timeout: None), "oak://host", connected=lambda: False)
    with pytest.raises(CameraLost, match="unplugged"):
        unplugged.read(0.1)


@needs_depthai
@pytest.mark.parametrize("on_rvc4", [False, True])
def test_the_oak_graph_uses_only_what_depthai_has_and_aligns_before_it_pairs(on_rvc4: bool) -> None:
    import depthai as dai

    from mutualformer.runtime.sources.devices import oak

    # Device nodes cannot be made without a device; these refuse every name and signature the real ones do not have.
    built: dict[str, list[Any]] = {}

    def create(kind: type) -> Any:
        node = create_autospec(kind, instance=True)
        if kind is dai.node.Camera:
            node.build.return_value = node
        if kind is dai.node.Sync:
            node.inputs = {name: create_autospec(dai.Node.Input, instance=True) for name in ("rgb", "depth")}
        built.setdefault(kind.__name__, []).append(node)
        return node

    out = oak.build(SimpleNamespace(create=create), oak.Options(fps=15.0), (400, 640), on_rvc4)
    (sync,), (stereo,), cameras_made = built["Sync"], built["StereoDepth"], built["Camera"]
    assert out is sync.out
    assert len(cameras_made) == 3
    colour = cameras_made[0].requestOutput.return_value
    targets = [call.args[0] for call in colour.link.call_args_list]
    assert sync.inputs["rgb"] in targets
    if on_rvc4:
        (align,) = built["ImageAlign"]
        assert align.inputAlignTo in targets
        stereo.depth.link.assert_called_once_with(align.input)
        align.outputAligned.link.assert_called_once_with(sync.inputs["depth"])
    else:
        assert stereo.inputAlignTo in targets
        stereo.depth.link.assert_called_once_with(sync.inputs["depth"])


@needs_depthai
def test_opening_an_absent_oak_does_not_block() -> None:
    import depthai as dai

    if dai.Device.getAllAvailableDevices():
        pytest.skip("an OAK camera is plugged in")
    with pytest.raises(CameraError, match="no such OAK camera"):
        opening.camera("oak://")


@pytest.fixture
def orbbec(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The driver over the real SDK's names, or over a stand-in with the same names where the SDK is not installed."""
    if importlib.util.find_spec("pyorbbecsdk") is None:
        sdk: Any = types.ModuleType("pyorbbecsdk")
        sdk.OBFormat = types.SimpleNamespace(**{n: n for n in ("RGB", "BGR", "MJPG", "YUYV", "YUY2", "NV12", "Y16")})
        sdk.OBError = type("OBError", (Exception,), {})
        monkeypatch.setitem(sys.modules, "pyorbbecsdk", sdk)
        monkeypatch.delitem(sys.modules, "mutualformer.runtime.sources.devices.orbbec", raising=False)
    return importlib.import_module("mutualformer.runtime.sources.devices.orbbec")


class OrbbecFrame:
    """The calls of the SDK's VideoFrame that the driver makes."""

    def __init__(
        self, pixels: np.ndarray, kind: Any, index: int, stamp_us: int, shape: tuple[int, int] = (6, 8)
    ) -> None:
        self._data, self._kind, self._index, self._stamp, self._shape = pixels, kind, index, stamp_us, shape

    def get_data(self) -> np.ndarray:
        return self._data.reshape(-1).view(np.uint8)

    def get_format(self) -> Any:
        return self._kind

    def get_height(self) -> int:
        return self._shape[0]

    def get_width(self) -> int:
        return self._shape[1]

    def get_index(self) -> int:
        return self._index

    def get_timestamp_us(self) -> int:
        return self._stamp

    def get_depth_scale(self) -> float:
        return 0.5  # millimetres per unit, as the SDK says


class OrbbecSet:
    def __init__(self, colour: OrbbecFrame | None, depth: OrbbecFrame | None) -> None:
        self.get_color_frame, self.get_depth_frame = lambda: colour, lambda: depth


RGB = np.full((6, 8, 3), (200, 90, 20), np.uint8)


def test_orbbec_gives_rgb_metres_and_seconds(orbbec: types.ModuleType) -> None:
    kind, pixels = orbbec.ob.OBFormat.RGB, RGB.copy()
    depth = OrbbecFrame(np.full((6, 8), 3000, np.uint16), orbbec.ob.OBFormat.Y16, 7, 2_000_000)
    sets = [OrbbecSet(None, depth), None, OrbbecSet(OrbbecFrame(pixels, kind, 7, 2_003_000), depth)]
    source = types.SimpleNamespace(wait_for_frames=lambda ms: sets.pop(0))
    frame = orbbec.OrbbecCamera(source, "orbbec://x").read(1.0)
    pixels[:] = 0
    assert np.array_equal(frame.rgb, RGB), "its own memory"
    assert frame.depth[0, 0] == pytest.approx(1.5)
    assert (frame.timestamp, frame.sequence) == (pytest.approx(2.003), 7)
    assert frame.skew == pytest.approx(0.003)


def test_orbbec_faults_are_told_apart(orbbec: types.ModuleType) -> None:
    silent = types.SimpleNamespace(wait_for_frames=lambda ms: None)
    with pytest.raises(CameraTimeout):
        orbbec.OrbbecCamera(silent, "orbbec://x").read(0.05)
    with pytest.raises(CameraLost, match="unplugged"):
        orbbec.OrbbecCamera(silent, "orbbec://x", connected=lambda: False).read(0.05)

    def broken(ms: int) -> None:
        raise orbbec.ob.OBError("usb transfer failed")

    with pytest.raises(CameraLost, match="usb transfer failed"):
        orbbec.OrbbecCamera(types.SimpleNamespace(wait_for_frames=broken), "orbbec://x").read(0.05)


class FakeCapture:
    """The calls of ``cv2.VideoCapture`` with the OpenNI2 backend that the driver makes."""

    def __init__(self, frames: int) -> None:
        self.left, self.released = frames, False

    def set(self, prop: int, value: float) -> bool:
        return prop == cv2.CAP_PROP_OPENNI_REGISTRATION and value == 1

    def get(self, prop: int) -> float:
        return 525.0 if prop == cv2.CAP_OPENNI_DEPTH_GENERATOR_FOCAL_LENGTH else 0.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self, flag: int) -> tuple[bool, np.ndarray]:
        bgr, units = picture(self.left)
        return True, units if flag == cv2.CAP_OPENNI_DEPTH_MAP else bgr

    def release(self) -> None:
        self.released = True


def test_openni2_reads_both_images_of_one_grab_and_is_lost_when_grabbing_fails() -> None:
    capture = FakeCapture(2)
    camera = openni2.OpenNI2Camera(capture, "openni2://0")
    assert isinstance(camera, BaseCamera)
    assert camera.warnings == []
    first = camera.read()
    assert first is not None
    assert tuple(first.rgb[0, 0]) == (200, 0, 1)
    assert first.depth[0, 0] == pytest.approx(1.001)
    assert camera.intrinsics is not None
    assert camera.intrinsics.fx == 525.0
    camera.read()
    with pytest.raises(CameraLost, match="still plugged in"):
        camera.read()
    camera.close()
    assert capture.released


@pytest.mark.parametrize("value", [2047, 4095, 8191, 65535])
def test_a_wall_at_a_full_scale_code_is_a_wall_to_a_live_camera(value: int, orbbec: types.ModuleType) -> None:
    """The SDK says what is no measurement, 0, and nothing else is one."""
    wall = np.full((6, 8), value, np.uint16)
    wall[0] = 0
    capture = FakeCapture(1)
    capture.retrieve = lambda flag: (True, wall if flag == cv2.CAP_OPENNI_DEPTH_MAP else picture(0)[0])  # type: ignore[method-assign]
    seen = openni2.OpenNI2Camera(capture, "openni2://0").read()
    pair = OrbbecSet(OrbbecFrame(RGB, orbbec.ob.OBFormat.RGB, 7, 0), OrbbecFrame(wall, orbbec.ob.OBFormat.Y16, 7, 0))
    camera = orbbec.OrbbecCamera(types.SimpleNamespace(wait_for_frames=lambda ms: pair), "orbbec://x")
    for frame, scale in ((seen, 0.001), (camera.read(1.0), camera.depth_scale)):
        assert frame is not None
        assert frame.depth[3, 3] == np.float32(value) * np.float32(scale)
        assert not frame.depth[0].any()


def test_openni2_without_support_says_how_to_get_it() -> None:
    if openni2.available():
        pytest.skip("this OpenCV has OpenNI2")
    with pytest.raises(CameraError, match="WITH_OPENNI2=ON"):
        opening.camera("openni2://")


def test_a_replugged_device_comes_back_through_the_pipeline() -> None:
    built: list[FakeCapture] = []

    def opener() -> openni2.OpenNI2Camera:
        built.append(FakeCapture(5))
        return openni2.OpenNI2Camera(built[-1], "openni2://0")

    pipeline = Pipeline(opener, frames=12, retry=Retry(first_s=0.01))
    summary = pipeline.run()
    assert summary["processed"] == 12
    assert summary["reconnects"] >= 2
    assert all(capture.released for capture in built)
