"""A recording gives back every bit, in our hands and in other tools', and survives what ends programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutualformer.runtime.recording.frame_messages import integers
from mutualformer.runtime.recording.replay import RecordingCamera
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.bags import ros_images, ros_messages
from mutualformer.runtime.sources.bags.open_bag import open_bag
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.frame import Frame, Intrinsics, metres
from mutualformer.runtime.sources.synthetic import SyntheticCamera
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession, ScriptedCamera, make_frame
from tests.runtime.here import in_this_process

__all__ = ["in_this_process"]

ROOT = Path(__file__).parents[3]


def record(folder: Path, uri: str, session: FakeSession | None = None, **options: Any) -> tuple[Path, list[Frame]]:
    recorder = Recorder(folder, **options)
    pipeline = Pipeline(lambda: opening.camera(uri), session, [SinkRunner(recorder)])
    frames = [result.frame for result in pipeline.results()]
    assert pipeline.snapshot()["sinks"]["recorder"]["error"] == recorder.problem == ""
    return Path(recorder.path), frames


def assert_equal_frames(first: Frame, second: Frame) -> None:
    assert np.array_equal(first.rgb, second.rgb)
    assert np.array_equal(first.depth.view(np.uint32), second.depth.view(np.uint32)), "bit for bit"
    assert (first.nir is None) == (second.nir is None)
    if first.nir is not None and second.nir is not None:
        assert np.array_equal(first.nir, second.nir)
    assert (first.timestamp, first.depth_timestamp, first.sequence) == (
        second.timestamp,
        second.depth_timestamp,
        second.sequence,
    )


def saliencies(recording: Path) -> list[Any]:
    bag = open_bag(recording)
    topics = {topic for topic in bag.topics if topic.startswith("/mutualformer/output/saliency")}
    messages = [ros_messages.read(message.kind, message.data) for message in bag.messages(topics)]
    bag.close()
    return [ros_images.pixels(image) for image in messages if not isinstance(image, ros_messages.CameraInfo)]


def test_replay_is_bit_exact_with_calibration_and_saliency(tmp_path: Path) -> None:
    session = FakeSession()
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=12&size=96x64&nir=1", session)
    camera = opening.camera(str(path))
    assert isinstance(camera, RecordingCamera)
    replayed = list(camera)
    recorded = saliencies(path)
    for saliency in recorded:
        assert saliency.dtype == np.float32
        assert saliency.shape == session.contract.input_size
        assert 0.0 < saliency.max() <= 1.0
    assert len(replayed) == len(frames) == len(recorded) == 12
    for ours, theirs in zip(frames, replayed, strict=True):
        assert_equal_frames(ours, theirs)
    original = opening.camera("synthetic://?fps=0&size=96x64")
    assert camera.intrinsics == original.intrinsics
    assert camera.depth_scale == 0.001
    assert camera.warnings == []


def test_a_compressed_recording_loses_no_depth_and_takes_a_fraction(tmp_path: Path) -> None:
    sizes = {}
    for compress in (False, True):
        path, frames = record(
            tmp_path, "synthetic://?fps=0&frames=6&size=160x120&nir=1", FakeSession(size=(60, 80)), compress=compress
        )
        sizes[compress] = sum(part.stat().st_size for part in path.iterdir())
    camera = opening.camera(str(path))
    for original, again in zip(frames, camera, strict=True):
        assert np.array_equal(original.depth, again.depth), "PNG is lossless"
        assert np.abs(original.rgb.astype(int) - again.rgb).mean() < 4
        assert again.nir is not None
    assert [levels.shape for levels in saliencies(path)] == [(60, 80, 3)] * 6, "levels of grey"
    assert sizes[True] < 0.3 * sizes[False]


def test_a_recording_seeks_and_says_where_it_is(tmp_path: Path) -> None:
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=20&size=320x240", part_bytes=2 << 20)
    assert len(list(path.iterdir())) > 2
    camera = opening.camera(str(path))
    assert isinstance(camera, RecordingCamera)
    assert camera.seekable
    places = [frame.position for frame in camera]
    assert (places[0], places[-1]) == (0, 1)
    assert places == sorted(places, key=lambda place: place or 0)
    for number in (19, 0, 11, 12, 3):
        place = places[number]
        assert place is not None
        camera.seek(place)
        sought = camera.read()
        assert sought is not None
        assert sought.sequence == frames[number].sequence
        assert np.array_equal(sought.rgb, frames[number].rgb)
    assert camera.warnings == []


def test_a_recording_ends_after_its_minutes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, most_s=0.3)
    camera = ScriptedCamera(lambda k: make_frame(k) if k < 40 else None, live=False, fps=40)
    Pipeline(lambda: camera, None, [SinkRunner(recorder)]).run()
    assert 0 < recorder.recorded < 40
    assert not recorder.recording
    assert recorder.problem == ""
    assert len(list(opening.camera(recorder.path))) == recorder.recorded


def test_depth_that_is_not_integer_is_kept_as_float() -> None:
    depth = np.array([[0.0, 1.0, 1.0005, 65.535]], np.float32)
    units, encoding = integers(depth, 0.001)
    assert encoding == "32FC1"
    assert units is depth
    whole = np.array([[0, 1, 65535]], np.uint16) * np.float32(0.00025)
    units, encoding = integers(whole, 0.00025)
    assert encoding == "16UC1"
    assert units.tolist() == [[0, 1, 65535]]


@pytest.mark.parametrize("scale", [0.001, 0.0001, 1 / 5000, 0.00012498, 0.0000625])
def test_every_depth_unit_survives_the_way_through_metres(scale: float) -> None:
    every = np.arange(65536, dtype=np.uint16)[None]
    units, encoding = integers(metres(every, scale), scale)
    assert encoding == "16UC1"
    assert np.array_equal(units, every)


def test_other_tools_read_it_as_a_ros2_bag(tmp_path: Path) -> None:
    highlevel = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed")
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=3&size=96x64", FakeSession())
    seen: dict[str, list[Any]] = {}
    with highlevel.AnyReader([path / "part-0000.mcap"]) as reader:
        for connection, _, raw in reader.messages():
            seen.setdefault(connection.topic, []).append(reader.deserialize(raw, connection.msgtype))
    colour = seen["/camera/color/image"][1]
    assert (colour.encoding, colour.height, colour.width, colour.step) == ("rgb8", 64, 96, 288)
    assert np.array_equal(colour.data.reshape(64, 96, 3), frames[1].rgb)
    depth = seen["/camera/depth/image"][2]
    assert depth.encoding == "16UC1"
    metres = depth.data.view(np.uint16).reshape(64, 96) * np.float32(0.001)
    assert np.array_equal(metres, frames[2].depth)
    stamp = depth.header.stamp
    assert stamp.sec + stamp.nanosec * 1e-9 == pytest.approx(frames[2].depth_timestamp, abs=1e-9)
    saliency = seen["/mutualformer/output/saliency"][0]
    assert saliency.encoding == "32FC1"
    info = seen["/camera/color/camera_info"][0]
    lens = opening.camera("synthetic://?fps=0&frames=3&size=96x64").intrinsics
    assert lens is not None
    assert info.k[0] == pytest.approx(lens.fx)
    assert info.width == 96
    assert json.loads(seen["/mutualformer/frame"][2].data)["sequence"] == 2


def test_the_mcap_package_reads_it_by_index_and_agrees_with_every_checksum(tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from mcap.records import Message
    from mcap.stream_reader import StreamReader

    path, frames = record(tmp_path, "synthetic://?fps=0&frames=25&size=320x240", FakeSession())
    file = path / "part-0000.mcap"
    with file.open("rb") as stream:
        kinds = [type(record).__name__ for record in StreamReader(stream, validate_crcs=True).records]
    assert kinds[0] == "Header"
    assert kinds[-1] == "Footer"
    with file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == kinds.count("Message") == 4 * len(frames) + 1
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 3
        counts = {c.topic: summary.statistics.channel_message_counts[c.id] for c in summary.channels.values()}
        assert counts["/camera/color/image"] == counts["/mutualformer/output/saliency"] == 25
        seen = [message for _, _, message in reader.iter_messages(topics=["/camera/depth/image"])]
        assert all(isinstance(message, Message) for message in seen)
        assert [message.sequence for message in seen] == list(range(25))
        middle = seen[12].log_time
        later = [m.sequence for _, _, m in reader.iter_messages(["/camera/depth/image"], starting_at=middle)]
        assert later == list(range(12, 25)), "seeking by time uses the index"
        assert dict(next(iter(reader.iter_metadata())).metadata)["format"] == "1"


def test_a_flipped_bit_costs_the_frames_of_its_chunk_and_no_others(tmp_path: Path) -> None:
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=20&size=320x240")
    part = path / "part-0000.mcap"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 4
    part.write_bytes(bytes(data))
    camera = opening.camera(str(path))
    got = {frame.sequence: frame for frame in camera}
    assert 14 <= len(got) < 20
    assert {0, 19} <= got.keys(), "the good frames after the problems are kept"
    for frame in frames:
        if frame.sequence in got:
            assert_equal_frames(frame, got[frame.sequence])
    assert any("corrupt after" in warning for warning in camera.warnings)
    assert not any("cut short" in warning for warning in camera.warnings), "it was closed"


def test_long_recordings_are_split_into_parts_that_replay_as_one(tmp_path: Path) -> None:
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=40&size=320x240", part_bytes=3 << 20)
    assert len(list(path.glob("part-*.mcap"))) >= 4
    assert [f.sequence for f in opening.camera(str(path))] == [f.sequence for f in frames]


def test_a_recording_plays_at_its_own_speed_when_asked(tmp_path: Path) -> None:
    path, _ = record(tmp_path, "synthetic://?fps=0&frames=16&size=64x48")
    began = time.monotonic()
    assert len(list(opening.camera(f"{path}?rate=1"))) == 16
    assert 0.48 <= time.monotonic() - began < 20


def test_the_record_switch_makes_separate_recordings(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, on=False)
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=30&size=64x48"), None, [SinkRunner(recorder)])
    paths = set()
    for result in pipeline.results():
        if result.number in (5, 15):
            recorder.switch(True)
        elif result.number in (10, 20):
            time.sleep(0.1)
            paths.add(recorder.path)
            recorder.switch(False)
            time.sleep(0.1)
    assert len(paths) == 2
    counts = [len(list(opening.camera(path))) for path in sorted(paths)]
    assert all(3 <= count <= 12 for count in counts)
    assert sum(counts) == recorder.recorded


def test_kill_9_loses_at_most_the_last_second(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mutualformer.runtime.cli",
        "stream",
        "synthetic://?fps=30&size=320x240",
        "--model",
        "none",
        "--record",
        str(tmp_path),
        "--json",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = {}
    for line in process.stdout:
        message = json.loads(line)
        if message["type"] == "frame":
            last = message
        if last.get("number") == 100:
            process.send_signal(signal.SIGKILL)
            break
    rest = [json.loads(line) for line in process.stdout if line.startswith("{") and line.endswith("}\n")]
    process.wait(10)
    process.stdout.close()
    newest = max([last["timestamp"], *(m["timestamp"] for m in rest if m["type"] == "frame")])
    (folder,) = tmp_path.iterdir()
    camera = opening.camera(str(folder))
    frames = list(camera)
    assert newest - frames[-1].timestamp <= 1.0
    assert [f.sequence for f in frames] == sorted(f.sequence for f in frames)
    assert any("cut short" in warning for warning in camera.warnings)
    reference = opening.camera("synthetic://?fps=0&size=320x240")
    assert isinstance(reference, SyntheticCamera)
    expected = reference.frame_at(frames[-1].sequence)
    assert np.array_equal(frames[-1].rgb, expected.rgb), "the last whole frame is whole"


@pytest.mark.parametrize("seed", range(4))
def test_a_file_cut_anywhere_opens_up_to_the_cut(tmp_path: Path, seed: int) -> None:
    path, frames = record(tmp_path, "synthetic://?fps=0&frames=30&size=320x240")
    part = path / "part-0000.mcap"
    data = part.read_bytes()
    cut = int(np.random.default_rng(seed).integers(len(data) // 4, len(data) - 200))
    part.write_bytes(data[:cut])
    camera = opening.camera(str(part))
    got = list(camera)
    assert abs(len(got) - 30 * cut / len(data)) <= 6
    for ours, theirs in zip(frames, got, strict=False):
        assert_equal_frames(ours, theirs)
    assert any("cut short" in warning for warning in camera.warnings)


def test_garbage_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\xff" * 100)
    with pytest.raises(CameraError, match="not a readable MCAP file"):
        opening.camera(str(tmp_path / "x.mcap"))


FULL_DISK = """
import resource, signal, sys
sys.path.insert(0, {root!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
from mutualformer.runtime.stream import main
sys.exit(main(["synthetic://?fps=0&frames=60&size=320x240", "--model", "none", "--record", {out!r}, "--json"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the file size through the operating system")
def test_a_write_the_system_refuses_stops_the_recording_not_the_stream(tmp_path: Path) -> None:
    code = FULL_DISK.format(root=str(ROOT), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "without it" in done.stderr
    assert "Traceback" not in done.stderr
    numbers = [json.loads(line)["number"] for line in done.stdout.splitlines() if '"frame"' in line[:20]]
    assert numbers == list(range(60)), "every frame was still processed"
    (folder,) = tmp_path.iterdir()
    assert 5 <= len(list(opening.camera(str(folder)))) < 60


def test_recording_leaves_room_on_the_disk_and_can_start_again(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, keep_free=1 << 60)
    pipeline = Pipeline(lambda: opening.camera("synthetic://?fps=0&frames=10&size=64x48"), None, [SinkRunner(recorder)])
    summary = pipeline.run()
    assert summary["processed"] == 10
    assert "MiB kept free" in summary["sinks"]["recorder"]["problem"]
    assert not recorder.recording
    recorder.switch(True)
    assert recorder.problem == ""


def test_a_float_depth_camera_without_calibration_records_too(tmp_path: Path) -> None:
    class Plain(ScriptedCamera):
        def __init__(self) -> None:
            super().__init__(self.made, live=False)
            self.intrinsics, self.depth_scale = None, None

        @staticmethod
        def made(k: int) -> Frame | None:
            frame = make_frame(k)
            noise = np.random.default_rng(k).normal(0, 1e-4, frame.depth.shape).astype(np.float32)
            return Frame(frame.rgb, np.abs(frame.depth + noise), 1.7e9 + k / 30, 1.7e9 + k / 30, k) if k < 4 else None

    recorder = Recorder(tmp_path)
    frames = [r.frame for r in Pipeline(Plain, None, [SinkRunner(recorder)]).results()]
    camera = opening.camera(recorder.path)
    assert isinstance(camera, BaseCamera)
    assert camera.intrinsics is None
    for ours, theirs in zip(frames, camera, strict=True):
        assert_equal_frames(ours, theirs)


def test_intrinsics_travel_as_json() -> None:
    lens = Intrinsics(640, 480, 600.0, 601.5, 320.25, 239.5, "brown_conrady", (0.1, -0.2, 0.0, 0.0, 0.01))
    assert Intrinsics.from_json(json.loads(json.dumps(lens.to_json()))) == lens


def test_the_folder_given_to_record_plays_while_it_holds_one_recording(tmp_path: Path) -> None:
    _, frames = record(tmp_path, "synthetic://?fps=0&frames=3&size=32x24")
    assert len(list(opening.camera(str(tmp_path)))) == len(frames) == 3
    record(tmp_path, "synthetic://?fps=0&frames=3&size=32x24")
    with pytest.raises(CameraError, match="holds 2 recordings; name one: "):
        opening.camera(str(tmp_path))
