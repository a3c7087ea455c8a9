"""Nothing a file declares is believed: sizes, databases that think for ever, records that point elsewhere."""

from __future__ import annotations

import bz2
import sqlite3
import struct
import tracemalloc
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import zstandard

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags.byte_reader import ByteReader, BytesError
from mutualformer.runtime.sources.bags.decompress import MOST_ONCE, DecompressError, allowed, decompress
from mutualformer.runtime.sources.bags.open_bag import open_bag
from mutualformer.runtime.sources.bags.ros2_bag import SqliteBag
from mutualformer.runtime.sources.base import CameraError
from tests.fuzz.recordings import ros1_seeds, sqlite_seeds
from tests.runtime.sources.bags.written import image, rgb, units, write_bag

PACKERS = {"zstd": zstandard.compress, "lz4": lz4.frame.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("kind", PACKERS)
def test_what_was_packed_comes_back(kind: str) -> None:
    data = np.random.default_rng(0).bytes(100_000) + bytes(100_000)
    packed = PACKERS[kind](data)
    assert decompress(kind, packed, len(data)) == data
    assert decompress(kind, packed) == data
    for wrong in (len(data) - 1, len(data) + 1, 0):
        with pytest.raises(DecompressError):
            decompress(kind, packed, wrong)
    with pytest.raises(DecompressError):
        decompress(kind, packed[: len(packed) // 2], len(data))


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_is_refused_and_takes_no_more_memory_than_allowed(kind: str) -> None:
    bomb = PACKERS[kind](bytes(3 * MOST_ONCE))
    with pytest.raises(DecompressError, match="more than"):
        decompress(kind, bomb, 3 * MOST_ONCE)
    tracemalloc.start()
    with pytest.raises(DecompressError, match="of another size"):
        decompress(kind, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * allowed(len(bomb))


def test_unknown_compression_is_named() -> None:
    with pytest.raises(DecompressError, match="'brotli' is not one of"):
        decompress("brotli", b"x", 1)


def test_values_are_taken_only_where_they_are() -> None:
    reader = ByteReader(struct.pack("<IQ", 7, 9))
    assert (reader.one("I"), reader.one("Q"), reader.left) == (7, 9, 0)
    for take in (lambda: reader.one("B"), lambda: reader.raw(-1), reader.text, reader.pairs):
        with pytest.raises(BytesError):
            take()
    with pytest.raises(BytesError):
        ByteReader(b"\xff\xff\xff\xffab").blob()


def database(path: Path, *statements: str) -> Path:
    base = sqlite3.connect(path)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()
    return path


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 1, i, x'00' FROM n WHERE i < 0"
)


def test_a_database_of_views_is_refused(tmp_path: Path) -> None:
    path = database(
        tmp_path / "x.db3",
        "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)",
        f"CREATE VIEW messages AS {ENDLESS}",
    )
    with pytest.raises(CameraError, match="has no tables of topics and messages"):
        opening.camera(str(path))


def test_a_database_that_thinks_for_ever_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(
        tmp_path / "x.db3",
        "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)",
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)",
        "INSERT INTO topics VALUES (1, '/c', 'sensor_msgs/msg/Image', 'cdr')",
        "INSERT INTO messages WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
        "SELECT i, 2, i, x'00' FROM n",  # none of topic 1: the search for the first takes its time
    )
    monkeypatch.setattr("mutualformer.runtime.sources.bags.ros2_bag.STEPS_BETWEEN_LOOKS", 1000)
    bag = SqliteBag(path)
    monkeypatch.setattr("mutualformer.runtime.sources.bags.ros2_bag.PATIENCE_SECONDS", 0.0)
    assert list(bag.messages({"/c"})) == []
    assert bag.damage == ["damaged after message 0 (interrupted)"]
    bag.close()


def test_a_damaged_page_costs_its_messages_only(tmp_path: Path) -> None:
    (data,) = sqlite_seeds(tmp_path)
    path = tmp_path / "made.db3"
    base = sqlite3.connect(path)
    (last,) = base.execute("SELECT max(id) FROM messages").fetchone()
    for _ in range(7):
        base.execute(f"INSERT INTO messages SELECT id + {last}, topic_id, timestamp + 1000000000, data FROM messages")
        last *= 2
    base.commit()
    base.close()
    data = path.read_bytes()
    middle = len(data) // 2 // 4096 * 4096
    path.write_bytes(data[:middle] + b"\xff" * 4096 + data[middle + 4096 :])
    bag = open_bag(path)
    times = [message.log_time for message in bag.messages()]
    bag.close()
    assert bag.damage
    assert len(times) > 0.6 * last
    assert max(times) - min(times) > 5e9, "what lies behind the damaged page is read too"


@pytest.mark.parametrize("number", range(3))
def test_ros_1_bags_without_index_play(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.bag"
    path.write_bytes(ros1_seeds(tmp_path)[number])
    assert len(list(opening.camera(str(path)))) == 3


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
