"""The real librealsense without a camera: a software device feeds the driver, is recorded, and replays bit-exact."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.runtime.fakes import FakeSession

if importlib.util.find_spec("pyrealsense2") is None:
    pytest.skip("pyrealsense2 is not installed (pip install '.[realsense]')", allow_module_level=True)

import pyrealsense2 as rs

from mutualformer.runtime.sources.devices import realsense

WIDTH, HEIGHT = 64, 48


def images(index: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[np.ndarray, np.ndarray]:
    """Noise that only frame ``index`` has: (H, W, 3) uint8 and (H, W) uint16 millimetres with holes."""
    rng = np.random.default_rng(index)
    depth = rng.integers(300, 9000, shape, dtype=np.uint16)
    depth[rng.random(shape) < 0.1] = 0
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8), depth


class SoftwareCamera:
    """A D400 as librealsense's own test device: two sensors, known optics, our pixels."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        depth_focal: float = 60.0,
        shift: float = 0.0,
        depth_shape: tuple[int, int] = (HEIGHT, WIDTH),
    ) -> None:
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "Software D400")
        self.device.register_info(rs.camera_info.serial_number, "000000000001")
        self.depth_sensor, self.colour_sensor = self.device.add_sensor("Depth"), self.device.add_sensor("Color")
        self.depth_sensor.add_read_only_option(rs.option.depth_units, 0.001)
        self.depth = self.depth_sensor.add_video_stream(
            self._stream(rs.stream.depth, 0, 2, rs.format.z16, depth_shape, depth_focal)
        )
        self.colour = self.colour_sensor.add_video_stream(
            self._stream(rs.stream.color, 1, 3, rs.format.rgb8, (HEIGHT, WIDTH), 60.0)
        )
        pose = rs.extrinsics()
        pose.rotation, pose.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [shift, 0, 0]
        self.depth.register_extrinsics_to(self.colour, pose)
        self.device.create_matcher(rs.matchers.dic)
        self.recorder = rs.recorder(str(file), self.device) if file is not None else None
        owner = self.recorder or self.device
        self.sensors = {sensor.get_info(rs.camera_info.name): sensor for sensor in owner.query_sensors()}

    @staticmethod
    def _stream(kind: Any, uid: int, bpp: int, form: Any, shape: tuple[int, int], focal: float) -> Any:
        lens = rs.intrinsics()
        lens.height, lens.width = shape
        lens.ppx, lens.ppy, lens.fx, lens.fy = shape[1] / 2, shape[0] / 2, focal, focal
        lens.model, lens.coeffs = rs.distortion.none, [0.0] * 5
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.bpp, stream.fmt = kind, 0, uid, bpp, form
        stream.width, stream.height, stream.fps, stream.intrinsics = shape[1], shape[0], 30, lens
        return stream

    def start(self, target: Any) -> None:
        for name, profile in (("Depth", self.depth), ("Color", self.colour)):
            self.sensors[name].open(profile)
            self.sensors[name].start(target)

    def push(self, index: int, rgb: np.ndarray, units: np.ndarray) -> None:
        for sensor, profile, pixels in (
            (self.depth_sensor, self.depth, units),
            (self.colour_sensor, self.colour, rgb),
        ):
            frame = rs.software_video_frame()
            frame.pixels, frame.stride = np.ascontiguousarray(pixels), pixels.strides[0]
            frame.bpp = pixels.itemsize * (3 if pixels.ndim == 3 else 1)
            frame.timestamp, frame.domain = 1000 + index * 1000 / 30, rs.timestamp_domain.hardware_clock
            frame.frame_number, frame.profile = index, profile.as_video_stream_profile()
            if pixels.ndim == 2:
                frame.depth_units = 0.001
            sensor.on_video_frame(frame)

    def stop(self) -> None:
        for sensor in self.sensors.values():
            sensor.stop()
            sensor.close()
        self.recorder = None
        self.sensors = {}


def film(file: Path, count: int, **optics: Any) -> None:
    """Record ``count`` frames of :func:`images` to ``file`` with librealsense's recorder."""
    camera = SoftwareCamera(file, **optics)
    queue = rs.frame_queue(200)
    camera.start(queue)
    shape = optics.get("depth_shape", (HEIGHT, WIDTH))
    for index in range(count):
        camera.push(index, images(index)[0], images(index, shape)[1])
        time.sleep(0.002)
    time.sleep(0.2)
    camera.stop()


def check_frame(frame: Frame, index: int) -> None:
    rgb, units = images(index)
    assert np.array_equal(frame.rgb, rgb)
    assert np.array_equal(frame.depth, units * np.float32(0.001))
    assert frame.timestamp == pytest.approx(1 + index / 30, abs=1e-6)
    assert frame.skew == 0


@pytest.fixture
def live() -> Iterator[tuple[SoftwareCamera, realsense.RealSenseCamera]]:
    device, syncer = SoftwareCamera(), rs.syncer(16)
    device.start(syncer)
    camera = realsense.RealSenseCamera(syncer, "realsense://software", realsense.Options())
    yield device, camera
    device.stop()


def test_the_driver_delivers_what_the_device_saw(live: tuple[SoftwareCamera, realsense.RealSenseCamera]) -> None:
    device, camera = live
    got = []
    for index in range(40):
        device.push(index, *images(index))
        with_frame = camera.read(1.0) if index else None  # the syncer needs a first pair to learn both streams
        if with_frame is not None:
            got.append(with_frame)
    assert len(got) >= 38
    for frame in got:
        check_frame(frame, frame.sequence)
    assert [f.sequence for f in got] == sorted({f.sequence for f in got})


def test_frames_in_hand_do_not_change_when_librealsense_reuses_its_buffers(
    live: tuple[SoftwareCamera, realsense.RealSenseCamera],
) -> None:
    device, camera = live
    held = []
    for index in range(60):
        device.push(index, *images(index))
        if index:
            held.append(camera.read(1.0))
    for frame in held:
        assert frame is not None
        check_frame(frame, frame.sequence)


def test_a_silent_device_times_out_and_a_missing_one_is_lost(
    live: tuple[SoftwareCamera, realsense.RealSenseCamera],
) -> None:
    _, camera = live
    began = time.monotonic()
    with pytest.raises(CameraTimeout, match=r"within 0\.2 s"):
        camera.read(0.2)
    assert time.monotonic() - began < 20
    gone = realsense.RealSenseCamera(rs.syncer(), "realsense://x", realsense.Options(), connected=lambda: False)
    with pytest.raises(CameraLost, match="unplugged"):
        gone.read(0.05)


def test_a_recording_replays_every_frame_once_in_order_bit_exact(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 60)
    camera = opening.camera(str(tmp_path / "x.db3"))
    frames = []
    for frame in camera:
        frames.append(frame)
        if len(frames) % 20 == 0:
            time.sleep(0.1)  # a slow reader must not lose any
    assert [f.sequence for f in frames] == list(range(60))
    for frame in frames:
        check_frame(frame, frame.sequence)
    assert camera.depth_scale == pytest.approx(0.001)
    assert camera.intrinsics is not None
    assert camera.warnings == []
    camera.close()


def test_a_recording_goes_on_where_a_viewer_points(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 60)
    camera = opening.camera(str(tmp_path / "x.db3"))
    places = [frame.position or 0.0 for frame in camera]
    assert places[0] < 0.2
    assert places[-1] > 0.8
    assert places == sorted(places)
    for wanted in (30, 50, 0):
        camera.seek(places[wanted])
        rest = list(camera)
        assert abs(rest[0].sequence - wanted) <= 2
        assert [frame.sequence for frame in rest] == list(range(rest[0].sequence, 60))
        check_frame(rest[0], rest[0].sequence)
    camera.close()


def test_the_whole_pipeline_runs_over_a_librealsense_recording(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 30)
    pipeline = Pipeline(lambda: opening.camera(str(tmp_path / "x.db3")), FakeSession(0.01))
    results = list(pipeline.results())
    assert [r.frame.sequence for r in results] == list(range(30))
    assert pipeline.dropped == 0


def test_closing_a_recording_early_frees_librealsense_s_thread(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 60)
    camera = opening.camera(str(tmp_path / "x.db3"))
    assert camera.read() is not None
    done = threading.Event()

    def close() -> None:
        camera.close()
        done.set()

    threading.Thread(target=close, daemon=True).start()
    assert done.wait(3), "close must not hang while the playback thread waits for room"


def test_depth_of_another_eye_is_aligned_to_colour(tmp_path: Path) -> None:
    # A wall at 2 m with a patch at 1 m. The depth eye stands 0.1 m left of the colour eye: a point at depth z moves
    # by f·0.1/z pixels: 3 for the wall, 6 for the patch.
    device, syncer = SoftwareCamera(shift=0.1), rs.syncer(16)
    device.start(syncer)
    camera = realsense.RealSenseCamera(syncer, "realsense://software", realsense.Options())
    units = np.full((HEIGHT, WIDTH), 2000, np.uint16)
    units[16:32, 20:40] = 1000
    for index in range(4):
        device.push(index, images(index)[0], units)
        frame = camera.read(1.0) if index else None
    device.stop()
    assert frame is not None
    near = np.abs(frame.depth - 1.0) < 1e-3
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    assert abs(columns[0] - 26) <= 1
    assert abs(columns[-1] - 45) <= 1
    assert abs(rows[0] - 16) <= 1
    assert abs(rows[-1] - 31) <= 1
    assert frame.depth[24, 10] == pytest.approx(2.0)
    assert np.all(frame.depth[:, 0] == 0), "what only the colour eye sees has no depth"


def test_depth_of_another_size_comes_out_at_colour_s_size_live_and_replayed(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 6, depth_shape=(24, 32), depth_focal=30.0)
    frames = list(opening.camera(str(tmp_path / "x.db3")))
    assert [f.sequence for f in frames] == list(range(6))
    assert all(f.depth.shape == f.rgb.shape[:2] == (HEIGHT, WIDTH) for f in frames)
    with pytest.raises(CameraError, match="set align=1"):
        list(opening.camera(f"{tmp_path}/x.db3?align=0"))


def test_filters_fill_holes_only_when_asked(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 3)
    plain = next(iter(opening.camera(str(tmp_path / "x.db3"))))
    filled = next(iter(opening.camera(f"{tmp_path}/x.db3?spatial=1&temporal=1&holes=1")))
    assert (plain.depth == 0).mean() > 0.05
    assert (filled.depth == 0).mean() < 0.2 * (plain.depth == 0).mean()


def test_opening_an_absent_camera_is_quick_and_says_what_to_do() -> None:
    if realsense.serials(rs.context()):
        pytest.skip("a RealSense camera is plugged in")
    began = time.monotonic()
    with pytest.raises(CameraError, match="connected: none"):
        opening.camera("realsense://")
    assert time.monotonic() - began < 20


class StandInPipeline:
    """``rs.pipeline`` for a camera that is not there: takes the real ``rs.config`` and remembers it."""

    refuse = False
    started: list[Any]

    def __init__(self, context: Any) -> None:
        self.stopped = False
        type(self).started = []

    def start(self, config: Any) -> Any:
        assert isinstance(config, rs.config)
        if self.refuse:
            raise RuntimeError("Couldn't resolve requests")
        self.started.append(self)
        device = SoftwareCamera()
        sensor = SimpleNamespace(get_depth_scale=lambda: 0.00025)
        return SimpleNamespace(
            get_stream=lambda kind: device.colour,
            get_device=lambda: SimpleNamespace(first_depth_sensor=lambda: sensor),
        )

    def stop(self) -> None:
        self.stopped = True


def test_opening_a_camera_configures_starts_and_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realsense, "serials", lambda context: ["111", "222"])
    monkeypatch.setattr(rs, "pipeline", StandInPipeline)
    camera = opening.camera("realsense://222?size=848x480&fps=15&second=infrared")
    assert camera.name == "realsense://222"
    assert camera.live
    assert camera.depth_scale == 0.00025
    assert camera.intrinsics is not None
    (pipeline,) = StandInPipeline.started
    camera.close()
    camera.close()
    assert pipeline.stopped
    with pytest.raises(CameraError, match="connected: 111, 222"):
        opening.camera("realsense://333")
    monkeypatch.setattr(StandInPipeline, "refuse", True)
    with pytest.raises(CameraError, match=r"cannot start 640x480 at 30 fps .*try another size"):
        opening.camera("realsense://")


def test_a_damaged_recording_is_refused_in_one_sentence(tmp_path: Path) -> None:
    film(tmp_path / "x.db3", 3)
    data = (tmp_path / "x.db3").read_bytes()
    (tmp_path / "y.db3").write_bytes(data[: len(data) // 8])
    with pytest.raises(CameraError) as caught:
        list(opening.camera(str(tmp_path / "y.db3")))
    assert "\n" not in str(caught.value)
