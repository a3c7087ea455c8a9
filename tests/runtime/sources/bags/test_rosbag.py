"""Bags written by other tools: ROS 1 and ROS 2, raw and compressed, any topic names, padding, order and holes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources import pictures as files
from mutualformer.runtime.sources.base import CameraError

pytest.importorskip("rosbags", reason="rosbags is not installed (pip install rosbags)")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

START = 1_700_000_000


class Bag:
    """Writes one message after the other into a ROS 1 file or a ROS 2 folder."""

    def __init__(self, path: Path, ros: int, storage: Any = StoragePlugin.SQLITE3) -> None:
        self.ros = ros
        self.store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
        self.writer: Any = Writer1(path) if ros == 1 else Writer2(path, version=9, storage_plugin=storage)
        self.writer.open()
        self._topics: dict[str, Any] = {}

    def header(self, stamp: float) -> Any:
        seconds = int(stamp)
        time = self.store.types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=round((stamp - seconds) * 1e9))
        extra = {"seq": 0} if self.ros == 1 else {}
        return self.store.types["std_msgs/msg/Header"](stamp=time, frame_id="camera", **extra)

    def write(self, topic: str, kind: str, message: Any, stamp: float) -> None:
        if topic not in self._topics:
            self._topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        serialize = self.store.serialize_ros1 if self.ros == 1 else self.store.serialize_cdr
        self.writer.write(self._topics[topic], round(stamp * 1e9), serialize(message, kind))

    def image(self, topic: str, pixels: np.ndarray, encoding: str, stamp: float, padding: int = 0) -> None:
        rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
        rows = np.pad(rows, ((0, 0), (0, padding)))
        message = self.store.types["sensor_msgs/msg/Image"](
            header=self.header(stamp), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=0,
            step=rows.shape[1], data=np.ascontiguousarray(rows).reshape(-1),
        )  # fmt: skip
        self.write(topic, "sensor_msgs/msg/Image", message, stamp)

    def compressed(self, topic: str, data: np.ndarray, form: str, stamp: float) -> None:
        message = self.store.types["sensor_msgs/msg/CompressedImage"](header=self.header(stamp), format=form, data=data)
        self.write(topic, "sensor_msgs/msg/CompressedImage", message, stamp)

    def info(self, topic: str, stamp: float) -> None:
        upper = self.ros == 1
        names = ("D", "K", "R", "P") if upper else ("d", "k", "r", "p")
        values = (np.zeros(5), np.array([500.0, 0, 5, 0, 510, 4, 0, 0, 1]), np.eye(3).ravel(), np.zeros(12))
        roi = self.store.types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        message = self.store.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp), height=8, width=10, distortion_model="plumb_bob", binning_x=0, binning_y=0,
            roi=roi, **dict(zip(names, values, strict=True)),
        )  # fmt: skip
        self.write(topic, "sensor_msgs/msg/CameraInfo", message, stamp)


def colour(index: int) -> np.ndarray:
    return np.full((8, 10, 3), (10, 100, 200 + index), np.uint8)


def depth(index: int) -> np.ndarray:
    units = np.full((8, 10), 1500 + index, np.uint16)
    units[0] = 0
    return units


@pytest.mark.parametrize("ros", [1, 2])
def test_raw_images_with_own_stamps_padding_and_gaps(tmp_path: Path, ros: int) -> None:
    path = tmp_path / ("film.bag" if ros == 1 else "film")
    bag = Bag(path, ros)
    bag.info("/robot/front/rgb/camera_info", START)
    for index in range(12):
        stamp = START + index / 30
        bag.image("/robot/front/depth/unaligned", depth(index)[::2, ::2].copy(), "16UC1", stamp)
        if index not in (4, 9):
            bag.image("/robot/front/aligned_depth/image", depth(index), "16UC1", stamp - 0.006, padding=12)
        bag.image("/robot/front/rgb/image", colour(index)[..., ::-1].copy(), "bgr8", stamp, padding=2)
    bag.writer.close()
    camera = opening.camera(str(path))
    frames = list(camera)
    assert [round((f.timestamp - START) * 30) for f in frames] == [i for i in range(12) if i not in (4, 9)]
    for frame in frames:
        index = round((frame.timestamp - START) * 30)
        assert tuple(frame.rgb[3, 3]) == (10, 100, 200 + index)
        assert frame.depth[5, 5] == pytest.approx((1500 + index) / 1000)
        assert np.all(frame.depth[0] == 0)
        assert frame.skew == pytest.approx(0.006, abs=1e-6)
    assert camera.intrinsics is not None
    assert (camera.intrinsics.fx, camera.intrinsics.fy, camera.intrinsics.width) == (500, 510, 10)
    assert any("2 colour images have no depth" in warning for warning in camera.warnings)
    camera.close()
    unread = opening.camera(str(path))
    assert unread.read() is not None
    unread.close()
    unread.close()


def test_compressed_topics_and_float_depth(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "c", 2, StoragePlugin.MCAP)
    for index in range(4):
        stamp = START + index / 30
        jpeg = cv2.imencode(".jpg", colour(index)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].reshape(-1)
        bag.compressed("/cam/rgb/compressed", jpeg, "bgr8; jpeg compressed bgr8", stamp)
        png = np.concatenate([np.zeros(12, np.uint8), cv2.imencode(".png", depth(index))[1].reshape(-1)])
        bag.compressed("/cam/depth/compressedDepth", png, "16UC1; compressedDepth png", stamp)
        metric = depth(index).astype(np.float32) / 1000
        metric[0] = np.nan
        bag.image("/cam/depth/metres", metric, "32FC1", stamp)
    bag.writer.close()
    packed = list(opening.camera(f"{tmp_path}/c?depth=/cam/depth/compressedDepth"))
    floats = list(opening.camera(f"{tmp_path}/c?depth=/cam/depth/metres"))
    assert len(packed) == len(floats) == 4
    for one, two in zip(packed, floats, strict=True):
        assert np.abs(one.rgb.astype(int) - (10, 100, one.rgb[3, 3, 2])).max() <= 4
        assert np.allclose(one.depth, two.depth, atol=1e-6), "NaN is no measurement, like 0"


def test_16_bit_colour_is_as_bright_as_its_own_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bits, shift in ((12, 4), (10, 2), (16, 8)):
        monkeypatch.setattr(files, "_reported", set())
        caplog.clear()
        bag = Bag(tmp_path / f"bits{bits}.bag", 1)
        for index in range(4):
            bag.image("/c", (np.asarray(colour(index), np.uint16) << shift) + 1, "rgb16", START + index / 30)
            bag.image("/d", depth(index), "16UC1", START + index / 30)
        bag.writer.close()
        with caplog.at_level("WARNING", "mutualformer"):
            frames = list(opening.camera(str(tmp_path / f"bits{bits}.bag")))
        assert len(frames) == 4
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.rgb, colour(index))
        assert caplog.text.count("bits, read as") == (bits < 16)


def test_a_foreign_mcap_file_is_a_ros_bag_too(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "m", 2, StoragePlugin.MCAP)
    for index in range(3):
        bag.image("/d", depth(index), "16UC1", START + index / 30)
        bag.image("/c", colour(index), "rgb8", START + index / 30)
    bag.writer.close()
    (file,) = (tmp_path / "m").glob("*.mcap")
    assert [round(f.depth[5, 5] * 1000) for f in opening.camera(str(file))] == [1500, 1501, 1502]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "x.bag", 1)
    bag.image("/only/colour", colour(0), "rgb8", START)
    bag.writer.close()
    with pytest.raises(CameraError, match="no depth image topic; the bag has /only/colour"):
        opening.camera(str(tmp_path / "x.bag"))
    with pytest.raises(CameraError, match="no topic '/nope' with colour images"):
        opening.camera(f"{tmp_path}/x.bag?colour=/nope")
    two = Bag(tmp_path / "y.bag", 1)
    two.image("/c", colour(0), "rgb8", START)
    two.image("/d", depth(0)[::2].copy(), "16UC1", START)
    two.writer.close()
    with pytest.raises(CameraError, match="expected depth aligned to colour"):
        list(opening.camera(str(tmp_path / "y.bag")))
    (tmp_path / "z.bag").write_bytes(b"#ROSBAG V2.0\n" + b"\0" * 100)
    with pytest.raises(CameraError, match="not a readable ROS bag"):
        opening.camera(str(tmp_path / "z.bag"))


def test_a_damaged_bag_plays_up_to_the_damage_and_one_without_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bag"
    bag = Bag(path, 1)
    for index in range(40):
        bag.image("/c", colour(index), "rgb8", START + index / 30)
        bag.image("/d", depth(index), "16UC1", START + index / 30)
    bag.writer.close()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(600) + whole[middle + 600 :])
    camera = opening.camera(str(path))
    frames = list(camera)
    numbers = [round((frame.timestamp - START) * 30) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert 5 < len(frames) < 40
    assert [round(f.depth[5, 5] * 1000) for f in frames] == [1500 + index for index in numbers]
    assert any("corrupt after" in warning for warning in camera.warnings)
    path.write_bytes(whole[: 2 * middle // 3])
    with pytest.raises(CameraError, match="not a readable ROS bag"):
        opening.camera(str(path))
