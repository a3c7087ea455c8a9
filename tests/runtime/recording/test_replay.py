"""Our recordings after other tools and accidents had them: right values or a sentence, never another unit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from mutualformer.runtime.recording import topics
from mutualformer.runtime.recording.info import InfoError, RecordingInfo
from mutualformer.runtime.recording.replay import RecordingCamera
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.child import ChildCamera
from mutualformer.runtime.sources.frame import Frame, Intrinsics
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result, SinkRunner

TUM = 1 / 5000
FRAMES = 8


class Source(BaseCamera):
    def __init__(self, scale: float | None) -> None:
        super().__init__(
            f"test at {scale}", live=False, intrinsics=Intrinsics(96, 64, 80, 80, 48, 32), depth_scale=scale
        )


def frame(index: int, scale: float) -> Frame:
    """1 … 5 m in units of ``scale``, with holes."""
    rng = np.random.default_rng(index)
    units = rng.integers(round(1 / scale), round(5 / scale), (64, 96)).astype(np.uint16)
    units[:4] = 0
    rgb = rng.integers(0, 256, (64, 96, 3), np.uint8)
    return Frame(rgb, units * np.float32(scale), 1.7e9 + index / 30, 1.7e9 + index / 30, index)


def record(folder: Path, scale: float = TUM, chunk_bytes: int = 1 << 14) -> Path:
    """One part of :data:`FRAMES` frames, many chunks."""
    recorder = Recorder(folder, keep_free=0, model="test")
    recorder.open(Source(scale))
    for index in range(FRAMES):
        saliency = np.full((16, 24), 0.25, np.float32)
        recorder.write(Result(frame(index, scale), {"saliency": saliency}, {"total": 0.01}, index, 0))
        assert recorder._part is not None
        recorder._part.file.flush()  # a chunk per frame, so that a corrupt one has edges
    recorder.close()
    assert recorder.problem == ""
    return next(Path(recorder.path).glob("*.mcap"))


def rewrite(
    source: Path,
    target: Path,
    *,
    metadata: str = "keep",
    drop: tuple[str, ...] = (),
    order: Callable[[Any], Any] | None = None,
    change: Callable[[str, bytes], bytes] = lambda topic, data: data,
    sequence: Callable[[int], int] = lambda number: number,
) -> Path:
    """What `mcap filter`, `sort`, `merge`, `recover` and `convert` do, by the mcap package."""
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    names: dict[int, str] = {}
    messages, described = [], []
    with source.open("rb") as stream, target.open("wb") as out:
        writer = Writer(out, compression=CompressionType.ZSTD, chunk_size=1 << 16)
        writer.start(profile="ros2", library="another tool")
        for item in StreamReader(stream).records:
            if isinstance(item, Schema) and item.id not in schemas:
                schemas[item.id] = writer.register_schema(item.name, item.encoding, item.data)
            elif isinstance(item, Channel) and item.id not in channels and item.topic not in drop:
                channels[item.id] = writer.register_channel(item.topic, item.message_encoding, schemas[item.schema_id])
                names[item.id] = item.topic
            elif isinstance(item, Metadata):
                described.append(item)
                if metadata == "keep":
                    writer.add_metadata(item.name, item.metadata)
            elif isinstance(item, Message) and item.channel_id in channels:
                messages.append(item)
        for item in sorted(messages, key=order) if order else messages:
            data = change(names[item.channel_id], item.data)
            writer.add_message(
                channels[item.channel_id], item.log_time, data, item.publish_time, sequence(item.sequence)
            )
        if metadata == "end":
            for item in described:
                writer.add_metadata(item.name, item.metadata)
        writer.finish()
    return target


def replay(path: Path, options: str = "") -> tuple[list[Frame], list[str]]:
    pipeline = Pipeline(lambda: opening.camera(f"{path}{options}"))
    frames = [result.frame for result in pipeline.results()]
    assert pipeline.capture.camera is not None
    return frames, list(pipeline.capture.camera.warnings)


def replay_or_refuse(path: Path) -> tuple[list[Frame], list[str]] | None:
    try:
        return replay(path)
    except CameraError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None


def assert_right(frames: list[Frame], scale: float = TUM) -> None:
    """Every frame's depth and colour are those of its number, bit for bit."""
    for got in frames:
        expected = frame(got.sequence, scale)
        assert np.array_equal(got.depth, expected.depth)
        assert np.array_equal(got.rgb, expected.rgb)


@pytest.mark.parametrize("scale", [TUM, 0.001, 0.00025])
@pytest.mark.parametrize(
    "how",
    [
        {"metadata": "keep"},
        {"metadata": "drop"},
        {"metadata": "end"},
        {"drop": ("/mutualformer/output/saliency", topics.INFO)},
        {"metadata": "drop", "order": lambda item: item.channel_id},
        {"metadata": "drop", "order": lambda item: -item.channel_id},
        {"metadata": "drop", "sequence": lambda number: 0},
    ],
)
def test_the_unit_of_depth_survives_other_tools(tmp_path: Path, how: dict[str, Any], scale: float) -> None:
    path = rewrite(record(tmp_path / "r", scale), tmp_path / "x.mcap", **how)
    frames, warnings = replay(path)
    assert sorted(f.sequence for f in frames) == list(range(FRAMES))
    assert_right(frames, scale)
    assert warnings == []


@pytest.mark.parametrize("metadata", ["keep", "drop"])
def test_without_the_frame_topic_the_pictures_still_play_in_metres(tmp_path: Path, metadata: str) -> None:
    path = rewrite(record(tmp_path / "r"), tmp_path / "x.mcap", metadata=metadata, drop=(topics.FRAME,))
    frames, warnings = replay(path)
    assert len(frames) == FRAMES
    for index, got in enumerate(frames):
        assert np.array_equal(got.depth, frame(index, TUM).depth)
    assert not any("left out" in warning for warning in warnings)


def old(topic: str, data: bytes) -> bytes:
    """A frame message as earlier versions wrote it, that says nothing about its recording; depth in units."""
    from mutualformer.runtime.sources.bags import ros_images
    from mutualformer.runtime.sources.bags import ros_messages as ros

    if topic == topics.FRAME:
        facts = json.loads(ros.read_text(data))
        del facts["about"]
        return b"".join(ros.write_text(json.dumps(facts)))
    if topic == topics.DEPTH:
        image = ros.MessageReader(data).image()
        units = np.rint(ros_images.unpack(image) * 5000).astype(np.uint16)
        return b"".join(ros.write_image(units, "16UC1", image.stamp, image.frame_id))
    return data


def test_an_old_recording_that_lost_its_metadata_asks_for_the_unit(tmp_path: Path) -> None:
    whole = rewrite(record(tmp_path / "r"), tmp_path / "old.mcap", change=old)
    assert_right(replay(whole)[0])
    path = rewrite(whole, tmp_path / "x.mcap", metadata="drop")
    with pytest.raises(CameraError, match=r"the unit of its depth; .*\?depth_scale="):
        replay(path)
    frames, _ = replay(path, f"?depth_scale={TUM}")
    assert len(frames) == FRAMES
    assert_right(frames)


@pytest.mark.parametrize("order", [(TUM, 0.001), (0.001, TUM)])
def test_parts_of_two_recordings_in_one_folder_are_each_read_as_recorded(
    tmp_path: Path, order: tuple[float, float]
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    for number, scale in enumerate(order):
        record(tmp_path / f"r{number}", scale).rename(folder / f"part-{number}.mcap")
    frames, warnings = replay(folder)
    assert_right(frames[:FRAMES], order[0])
    assert_right(frames[FRAMES:], order[1])
    assert any("of 2 recordings" in warning for warning in warnings)


def test_parts_play_in_the_order_people_count(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    path = record(tmp_path / "r")
    for number in (10, 2, 1):
        (folder / f"part-{number}.mcap").write_bytes(path.read_bytes())
    (folder / "part-3.mcap").write_bytes(b"")
    (folder / "._part-1.mcap").write_bytes(b"\0\5\x16\7 not ours")
    camera = opening.camera(str(folder))
    assert len(list(camera)) == 3 * FRAMES
    assert any("part-3.mcap" in warning and "it is empty" in warning for warning in camera.warnings)


def test_damage_in_the_middle_keeps_the_good_frames_on_both_sides(tmp_path: Path) -> None:
    path = record(tmp_path / "r")
    data = path.read_bytes()
    for name, start, patch in (
        ("flip", len(data) // 2, bytes([data[len(data) // 2] ^ 0xFF])),
        ("zeros", len(data) // 3, bytes(40_000)),
        ("noise", len(data) // 3, np.random.default_rng(0).bytes(40_000)),
    ):
        corrupt = tmp_path / f"{name}.mcap"
        corrupt.write_bytes(data[:start] + patch + data[start + len(patch) :])
        frames, warnings = replay(corrupt)
        numbers = [f.sequence for f in frames]
        assert {0, FRAMES - 1} <= set(numbers), name
        assert len(numbers) >= FRAMES - 3, name
        assert numbers == sorted(set(numbers))
        assert_right(frames)
        assert any("corrupt" in warning for warning in warnings)
        assert not any("cut short" in warning for warning in warnings)


@pytest.mark.slow
def test_a_file_cut_at_any_byte_plays_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = record(tmp_path / "r")
    data = path.read_bytes()
    last = 0
    for cut in (*range(0, 400, 7), *range(400, len(data), len(data) // 150), *range(len(data) - 60, len(data))):
        cut_file = tmp_path / "cut.mcap"
        cut_file.write_bytes(data[:cut])
        played = replay_or_refuse(cut_file)
        assert played is not None or last == 0, f"cut at {cut}: what played before is refused"
        if played is None:
            continue
        frames, warnings = played
        assert_right(frames)
        assert len(frames) >= last, cut
        assert any("cut short" in warning for warning in warnings)
        last = len(frames)
    assert last == FRAMES


@pytest.mark.parametrize("key", ["format", "depth_scale", "intrinsics"])
def test_flipped_metadata_is_noticed_and_its_copies_are_used(tmp_path: Path, key: str) -> None:
    path = record(tmp_path / "r")
    data = bytearray(path.read_bytes())
    place = data.index(key.encode(), 0, 2000) + len(key) + 4
    data[place] ^= 1
    path.write_bytes(bytes(data))
    frames, _ = replay(path)
    assert len(frames) == FRAMES
    assert_right(frames)


def test_the_seal_covers_every_value() -> None:
    values = RecordingInfo("x", "m", 0.001, Intrinsics(8, 6, 7, 7, 4, 3), "id").to_metadata()
    assert RecordingInfo.from_metadata(values, "t").depth_scale == 0.001
    for key in values:
        with pytest.raises(InfoError):
            RecordingInfo.from_metadata({**values, key: values[key] + " "}, "t")


@pytest.mark.parametrize("stamp", ["NaN", "Infinity", "1e999", '"now"', "null", "[1]", "true"])
def test_times_that_are_no_numbers_cost_their_frame_only(tmp_path: Path, stamp: str) -> None:
    from mutualformer.runtime.sources.bags import ros_messages as ros

    def change(topic: str, data: bytes) -> bytes:
        text = ros.read_text(data) if topic == topics.FRAME else ""
        if '"sequence": 3,' not in text:
            return data
        old_stamp = json.dumps(json.loads(text)["timestamp"])
        return b"".join(ros.write_text(text.replace(f'"timestamp": {old_stamp}', f'"timestamp": {stamp}', 1)))

    frames, warnings = replay(rewrite(record(tmp_path / "r"), tmp_path / "x.mcap", change=change))
    assert [f.sequence for f in frames] == [0, 1, 2, 4, 5, 6, 7]
    assert any("frame left out" in warning for warning in warnings)


def test_a_recording_without_frames_is_an_error(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, keep_free=0)
    recorder.open(Source(0.001))
    recorder._next_part()
    recorder.close()
    with pytest.raises(CameraError, match="no colour image topic"):
        replay(Path(recorder.path))


def test_sixteen_bits_are_millimetres_to_every_ros_tool(tmp_path: Path) -> None:
    highlevel = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed")
    for scale, encoding in ((0.001, "16UC1"), (TUM, "32FC1")):
        with highlevel.AnyReader([record(tmp_path / encoding, scale)]) as reader:
            (connection,) = [c for c in reader.connections if c.topic == topics.DEPTH]
            _, _, raw = next(reader.messages(connections=[connection]))
            message = reader.deserialize(raw, connection.msgtype)
        assert message.encoding == encoding
        values = message.data.view(np.uint16) / 1000 if encoding == "16UC1" else message.data.view(np.float32)
        assert np.allclose(values.reshape(64, 96), frame(0, scale).depth)


def test_a_chunk_that_declares_gigabytes_is_not_believed(tmp_path: Path) -> None:
    import zstandard

    data = zstandard.compress(bytes(1 << 16))
    body = struct.pack("<QQQII", 0, 1, 3 << 30, 0, 4) + b"zstd" + struct.pack("<Q", len(data)) + data
    path = record(tmp_path / "r")
    whole = path.read_bytes()
    header = 8 + 9 + struct.unpack_from("<Q", whole, 9)[0]
    path.write_bytes(whole[:header] + b"\x06" + struct.pack("<Q", len(body)) + body + whole[header:])
    frames, warnings = replay(path)
    assert len(frames) == FRAMES
    assert any("corrupt" in warning for warning in warnings)


def test_what_another_program_rewrote_is_read_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = record(tmp_path / "r")
    theirs = rewrite(ours, tmp_path / "x.mcap")
    monkeypatch.undo()
    with opening.camera(f"recording:{theirs}") as camera:
        assert isinstance(camera, ChildCamera)
        again = list(camera)
    with opening.camera(f"recording:{ours}") as camera:
        assert isinstance(camera, RecordingCamera)
        assert [np.array_equal(a.depth, b.depth) for a, b in zip(camera, again, strict=True)] == [True] * FRAMES
    lying = theirs.read_bytes().replace(
        struct.pack("<I", 12) + b"another tool", struct.pack("<I", 12) + b"mutualformer"
    )
    (tmp_path / "lying.mcap").write_bytes(lying)
    with opening.camera(f"recording:{theirs.with_name('lying.mcap')}") as camera:
        assert not isinstance(camera, ChildCamera)
        assert list(camera) == [], "compressed chunks of a file that only says it is ours are not unpacked here"
    bare = (
        rewrite(ours, tmp_path / "y.mcap", drop=(topics.FRAME,)).read_bytes().replace(b"another tool", b"mutualformer")
    )
    (tmp_path / "bare.mcap").write_bytes(bare)
    with opening.camera(f"recording:{tmp_path / 'bare.mcap'}") as camera:
        assert isinstance(camera, ChildCamera), "nor are those of one without our frame messages"


def test_parts_play_in_the_order_of_recording(tmp_path: Path) -> None:
    source = "synthetic://?fps=0&frames=12&size=320x240"
    pipeline = Pipeline(
        lambda: opening.camera(source), None, [SinkRunner(Recorder(tmp_path / "r", part_bytes=1_000_000))]
    )
    assert len(list(pipeline.results())) == 12
    (folder,) = (tmp_path / "r").iterdir()
    parts = sorted(folder.iterdir())
    assert len(parts) >= 3

    def play(names: dict[str, Path]) -> tuple[list[int], list[str]]:
        place = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        for name, part in names.items():
            (place / f"{name}.mcap").write_bytes(part.read_bytes())
        camera = opening.camera(str(place))
        return [frame.sequence for frame in camera], camera.warnings

    whole = {f"part-{index}": part for index, part in enumerate(parts)}
    assert play(whole) == (list(range(12)), [])
    assert play({**whole, "part-0": parts[1], "part-1": parts[0]})[0] == list(range(12))
    order, warnings = play({"part-1": parts[1]})
    assert order
    assert warnings == [], "one part alone is one file that was chosen"
