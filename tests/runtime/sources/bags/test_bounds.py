"""Nothing a file declares is believed: what computes for ever or grows without end meets the limits of the child."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.reader import make_reader

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags.containers import McapBag
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera, Timeouts
from mutualformer.runtime.sources.frame import DataError
from tests.fuzz.recordings import ros1_seeds, sqlite_seeds
from tests.runtime.sources.bags.written import image, rgb, units, write_bag

QUICK = Timeouts(start=15.0, frame=5.0)


def in_child(path: Path) -> BaseCamera:
    return ChildCamera("bags.rosbag", str(path), {}, str(path), QUICK)


def database(path: Path, *statements: str) -> Path:
    base = sqlite3.connect(path)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()
    return path


def test_a_chunk_that_lies_beyond_any_file_is_left_out_and_said(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "x.mcap", [image("/c", rgb(0), "rgb8")])
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    (index,) = summary.chunk_indexes
    start = struct.pack("<Q", index.chunk_start_offset)
    before, after = path.read_bytes().rsplit(start, 1)
    path.write_bytes(before + b"\xff" * 8 + after)
    with contextlib.closing(McapBag(path)) as bag:
        assert list(bag.messages()) == []
        assert any("is corrupt and left out" in problem for problem in bag.problems)


TOPICS = "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)"
MESSAGES = "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "rows"),
    [
        ("GENERATED ALWAYS AS (zeroblob(999000000)) VIRTUAL", 200),
        ("GENERATED ALWAYS AS (substr(replace(hex(zeroblob(9000000)),'0','ab'),1,10)) VIRTUAL", 200),
    ],
    ids=["huge blobs", "slow rows"],
)
def test_a_database_that_grows_or_thinks_is_ended_in_time_and_memory(tmp_path: Path, column: str, rows: int) -> None:
    topics = [f"INSERT INTO topics VALUES ({n}, '/c{n}', 'sensor_msgs/msg/Image', 'cdr')" for n in (1, 2)]
    filled = "INSERT INTO messages (topic_id, timestamp) WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
    filled += f"WHERE i < {rows}) SELECT 1 + i % 2, i FROM n"
    path = database(tmp_path / "x.db3", TOPICS, f"{MESSAGES} {column})", *topics, filled)
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"x\.db3"):
        list(in_child(path))
    assert time.monotonic() - began < 40


def test_a_database_of_views_is_refused(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 1, i, x'00' FROM n"
    path = database(tmp_path / "x.db3", TOPICS, f"CREATE VIEW messages AS {endless}")
    with pytest.raises(CameraError, match="not a readable ROS bag"):
        opening.camera(str(path))


@pytest.mark.slow
def test_a_chunk_of_millions_of_records_is_ended(tmp_path: Path) -> None:
    inside = struct.pack("<BQ", 0x80, 0) * ((60 << 20) // 9)
    packed = zstandard.compress(inside)
    chunk = struct.pack("<QQQII", 1, 1, len(inside), 0, 4) + b"zstd" + struct.pack("<Q", len(packed)) + packed
    head = b"\x89MCAP0\r\n" + struct.pack("<BQ", 1, 8) + bytes(8)
    path = tmp_path / "x.mcap"
    path.write_bytes(head + (struct.pack("<BQ", 6, len(chunk)) + chunk) * 9)
    began = time.monotonic()
    with pytest.raises(CameraError, match="could not open it within 15 s"):
        in_child(path)
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_compressed_file_that_becomes_gigabytes_fills_no_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.db3.zstd"
    with path.open("wb") as stream, zstandard.ZstdCompressor().stream_writer(stream) as writer:
        for _ in range(1100):
            writer.write(bytes(1 << 20))
    with pytest.raises(CameraError, match="not a readable ROS bag"):
        in_child(path)


def test_bags_videos_and_cameras_of_the_network_are_read_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_there = {name for name, source in opening.SOURCES.items() if source.child}
    assert read_there == {"rosbag", "video", "realsense-file", "rtsp", "rtsps", "http", "https"}
    monkeypatch.undo()
    path = write_bag(tmp_path / "x.mcap", [image("/c", rgb(0), "rgb8"), image("/d", units(0), "16UC1")])
    camera = opening.camera(str(path))
    assert isinstance(camera, ChildCamera)
    (frame,) = list(camera)
    assert np.array_equal(frame.rgb, rgb(0))
    assert np.allclose(frame.depth, units(0) / 1000)


def test_values_are_taken_only_where_they_are() -> None:
    reader = ros.MessageReader(struct.pack("<IQ", 7, 9), ros1=True)
    assert (reader.one("I"), reader.one("Q")) == (7, 9)
    for take in (lambda: reader.one("B"), reader.text, lambda: reader.take("d", 1 << 40)):
        with pytest.raises(DataError):
            take()
    with pytest.raises(DataError):
        ros.MessageReader(b"\xff\xff\xff\xffab", ros1=True).text()
    with pytest.raises(DataError, match="not a CDR message"):
        ros.MessageReader(b"\x07\x01\x00\x00")


def test_a_database_and_bags_of_every_compression_play(tmp_path: Path) -> None:
    (data,) = sqlite_seeds(tmp_path)
    (tmp_path / "x.db3").write_bytes(data)
    assert len(list(opening.camera(str(tmp_path / "x.db3")))) == 3
    (tmp_path / "y.db3.zstd").write_bytes(zstandard.compress(data))
    assert len(list(opening.camera(f"rosbag:{tmp_path / 'y.db3.zstd'}"))) == 3
    for number, bag in enumerate(ros1_seeds(tmp_path)):
        path = tmp_path / f"{number}.bag"
        path.write_bytes(bag)
        assert len(list(opening.camera(str(path)))) == 3


def test_a_bag_of_ros_1_without_index_says_how_to_get_one(tmp_path: Path) -> None:
    (data, *_) = ros1_seeds(tmp_path)
    place = data.index(b"index_pos=") + len(b"index_pos=")
    (tmp_path / "x.bag").write_bytes(data[:place] + bytes(8) + data[place + 8 :])
    with pytest.raises(CameraError, match="not indexed, reindex"):
        opening.camera(str(tmp_path / "x.bag"))


def test_several_files_of_one_bag_play_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "split"
    folder.mkdir()
    for part in (10, 2, 1):
        rows = [image("/c", rgb(part), "rgb8", part), image("/d", units(part), "16UC1", part)]
        write_bag(folder / f"x_{part}.mcap", rows)
    frames = list(opening.camera(f"rosbag:{folder}"))
    assert [round((frame.timestamp - 1.7e9) * 30) for frame in frames] == [1, 2, 10]
    (folder / "x_2.mcap").write_bytes(b"")
    camera = opening.camera(f"rosbag:{folder}")
    assert len(list(camera)) == 2
    assert any("x_2.mcap is left out: it is empty" in warning for warning in camera.warnings)


def test_depth_of_half_the_size_is_enlarged_and_an_equal_one_preferred(tmp_path: Path) -> None:
    half = units(0)[::2, ::2].copy()
    path = write_bag(tmp_path / "x.mcap", [image("/c/rgb", rgb(0), "rgb8"), image("/c/small", half, "16UC1")])
    camera = opening.camera(str(path))
    (frame,) = list(camera)
    assert np.allclose(frame.depth[::2, ::2], half / 1000)
    assert np.allclose(frame.depth[1::2, 1::2], half / 1000)
    assert any("is enlarged to 32×24 by nearest neighbour" in warning for warning in camera.warnings)
    rows = [image("/c/rgb", rgb(0), "rgb8"), image("/c/small", half, "16UC1"), image("/c/whole", units(0), "16UC1")]
    (frame,) = list(opening.camera(str(write_bag(tmp_path / "y.mcap", rows))))
    assert np.allclose(frame.depth, units(0) / 1000)


def test_a_topic_without_a_type_is_none_that_is_read(tmp_path: Path) -> None:
    path = database(tmp_path / "x.db3", TOPICS, f"{MESSAGES})", "INSERT INTO topics VALUES (1, '/c', NULL, 'cdr')")
    with pytest.raises(CameraError, match="no colour image topic; the bag has /c"):
        opening.camera(str(path))
