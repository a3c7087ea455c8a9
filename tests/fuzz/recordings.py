"""Targets: recordings and bags of every kind, as whole files and behind their checksums."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import numpy as np
import zstandard

from mutualformer.runtime.recording import replay
from mutualformer.runtime.recording.mcap_file import McapFile
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.bags import rosbag, rvl
from mutualformer.runtime.sources.base import BaseCamera, CameraError
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import DataError, Frame, Intrinsics
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result
from tests.fuzz.campaign import Target
from tests.runtime.sources.bags.test_rvl import encode

SHAPE = (6, 8)
START_NS = 1_700_000_000 * 10**9
WORDS = (
    b"\x06",
    b"\x05",
    b"op=\x05",
    b"op=\x02",
    b"zstd",
    b"lz4",
    b"rgb8",
    b"16UC1",
    b"32FC1",
    b"NaN",
    b"1e999",
    b"[[[[",
)


def play(open_source: Callable[[str, dict[str, str]], BaseCamera], path: str, most: int = 200) -> int:
    """Frames of a file, at most so many, read in this process, which has limits of its own. Raises CameraError."""
    count = 0
    with open_source(path, {}) as camera:
        for frame in camera:
            assert frame.rgb.dtype == np.uint8
            assert frame.depth.dtype == np.float32
            assert frame.rgb.shape[:2] == frame.depth.shape
            assert np.isfinite(frame.depth).all()
            assert np.isfinite([frame.timestamp, frame.depth_timestamp]).all()
            count += 1
            if count >= most:
                break
    return count


def frames(count: int) -> list[Frame]:
    rng = np.random.default_rng(1)
    return [
        Frame(
            rng.integers(0, 256, (*SHAPE, 3), np.uint8),
            rng.integers(300, 4000, SHAPE, np.uint16) * np.float32(0.001),
            1.7e9 + number / 30,
            1.7e9 + number / 30,
            number,
        )
        for number in range(count)
    ]


class _Source(BaseCamera):
    def __init__(self) -> None:
        super().__init__("fuzz", live=False, intrinsics=Intrinsics(8, 6, 7.0, 7.0, 4.0, 3.0), depth_scale=0.001)


def recording_seeds(folder: Path) -> Sequence[bytes]:
    """One recording of ours with three frames."""
    recorder = Recorder(folder / "made", keep_free=0)
    recorder.open(_Source())
    for number, frame in enumerate(frames(3)):
        recorder.write(Result(frame, {"saliency": np.zeros(SHAPE, np.float32)}, {"total": 0.1}, number, 0))
    recorder.close()
    return [next(Path(recorder.path).glob("*.mcap")).read_bytes()]


def reseal(data: bytes) -> bytes:
    """Chunks get the checksum of what is in them, so that changes get past it."""
    out, at = bytearray(data), 8
    while at + 9 <= len(out):
        opcode, length = struct.unpack_from("<BQ", out, at)
        body = at + 9
        if opcode == 6 and length >= 40 and body + length <= len(out):
            name = struct.unpack_from("<I", out, body + 28)[0]
            start = body + 32 + name + 8
            if start <= body + length:
                struct.pack_into("<I", out, body + 24, zlib.crc32(out[start : body + length]))
        at = body + length
    return bytes(out)


def play_file(suffix: str) -> Callable[[bytes, Path], int]:
    def run(data: bytes, folder: Path) -> int:
        path = folder / f"case{suffix}"
        path.write_bytes(data)
        return play(replay.open_source if suffix == ".mcap" else rosbag.open_source, str(path))

    return run


def play_resealed(data: bytes, folder: Path) -> int:
    return play_file(".mcap")(reseal(data), folder)


def messages() -> list[tuple[str, str, bytes]]:
    """(topic, type, CDR) of three frames: raw colour, raw depth, compressed colour, compressedDepth, CameraInfo."""
    rows: list[tuple[str, str, bytes]] = []
    for frame in frames(3):
        units = (frame.depth * 1000).astype(np.uint16)
        stamp = frame.timestamp
        rows.append(("/c/color/image", ros.IMAGE, b"".join(ros.write_image(frame.rgb, "rgb8", stamp, "eye"))))
        rows.append(("/c/depth/image", ros.IMAGE, b"".join(ros.write_image(units, "16UC1", stamp, "eye"))))
        rows.append(("/c/color/image/compressed", ros.COMPRESSED, compressed(frame.rgb, "jpeg", ".jpg", stamp)))
        packed = compressed(
            units, "32FC1; compressedDepth png", ".png", stamp, struct.pack("<iff", 0, 10100.0, -1009.0)
        )
        rows.append(("/c/depth/image/compressedDepth", ros.COMPRESSED, packed))
        lens = Intrinsics(8, 6, 7.0, 7.0, 4.0, 3.0, "plumb_bob", (0.0, 0.1))
        rows.append(("/c/color/camera_info", ros.INFO_TYPE, b"".join(ros.write_camera_info(lens, stamp, "eye"))))
    return rows


def compressed(image: np.ndarray, form: str, ending: str, stamp: float, lead: bytes = b"") -> bytes:
    data = lead + cv2.imencode(ending, image)[1].tobytes()
    message = ros.Writer().header(stamp, "eye").text(form).add("I", len(data)).raw(data)
    return b"".join(message.done())


def bag_seeds(folder: Path) -> Sequence[bytes]:
    """Foreign MCAP bags: plain, zstd and lz4 chunks."""
    path = folder / "made.mcap"
    path.unlink(missing_ok=True)
    file = McapFile(path, "fuzz")
    channels: dict[str, int] = {}
    for number, (topic, kind, data) in enumerate(messages()):
        channels.setdefault(topic, 0)
        channels[topic] = channels[topic] or file.channel(topic, kind, "")
        file.message(channels[topic], [data], START_NS + number, number)
    file.close()
    plain = path.read_bytes()
    packers = {"zstd": zstandard.ZstdCompressor().compress, "lz4": lz4.frame.compress}
    return [plain, *(repack(plain, name, pack) for name, pack in packers.items())]


def repack(plain: bytes, name: str, pack: Callable[[bytes], bytes]) -> bytes:
    """The only chunk of ``plain``, compressed; no index."""
    length = struct.unpack_from("<Q", plain, at := plain.index(b"\x06", 8) + 1)[0]
    body = plain[at + 8 : at + 8 + length]
    records = body[40:]
    packed = pack(records)
    chunk = body[:28] + struct.pack("<I", len(name)) + name.encode() + struct.pack("<Q", len(packed)) + packed
    return plain[: at - 1] + b"\x06" + struct.pack("<Q", len(chunk)) + chunk + b"\x0f" + struct.pack("<QI", 4, 0)


def sqlite_seeds(folder: Path) -> Sequence[bytes]:
    path = folder / "made.db3"
    path.unlink(missing_ok=True)
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
    base.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)")
    numbers: dict[str, int] = {}
    for number, (topic, kind, data) in enumerate(messages()):
        if topic not in numbers:
            numbers[topic] = len(numbers) + 1
            base.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr')", (numbers[topic], topic, kind))
        base.execute(
            "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
            (numbers[topic], START_NS + number, data),
        )
    base.commit()
    base.close()
    return [path.read_bytes()]


def ros1_seeds(folder: Path) -> Sequence[bytes]:
    """ROS 1 bags as rosbag writes them: plain, lz4, bz2."""
    from rosbags.rosbag1 import Writer

    bags = []
    for number, compression in enumerate((None, Writer.CompressionFormat.LZ4, Writer.CompressionFormat.BZ2)):
        path = folder / f"made-{number}.bag"
        path.unlink(missing_ok=True)
        writer = Writer(path)
        if compression is not None:
            writer.set_compression(compression)
        with writer:
            connections: dict[str, Any] = {}
            for index, (topic, kind, data) in enumerate(messages()):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, msgdef="uint8 x", md5sum="0" * 32)
                writer.write(connections[topic], START_NS + index, as_ros1(kind, data))
        bags.append(path.read_bytes())
    return bags


def as_ros1(kind: str, data: bytes) -> bytes:
    """A CDR message of :func:`messages` in ROS 1's layout."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    content = ros.read(kind, data)
    seconds = int(content.stamp)
    head = struct.pack("<III", 0, seconds, int((content.stamp - seconds) * 1e9)) + text(content.frame_id)
    if isinstance(content, ros.Image):
        lead = struct.pack("<II", content.height, content.width) + text(content.encoding)
        lead += struct.pack("<BI", 0, content.step)
        return head + lead + struct.pack("<I", len(content.data)) + bytes(content.data)
    if isinstance(content, ros.CompressedImage):
        return head + text(content.format) + struct.pack("<I", len(content.data)) + bytes(content.data)
    lens = content.lens
    k = (lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0)
    lead = struct.pack("<II", lens.height, lens.width) + text(lens.model)
    numbers = struct.pack(f"<I{len(lens.coefficients)}d", len(lens.coefficients), *lens.coefficients)
    return head + lead + numbers + struct.pack("<9d", *k) + bytes(8 * 21 + 8 + 17)


def message_seeds(folder: Path) -> Sequence[bytes]:
    """The type in front, so that one case is one message."""
    kinds = list(ros.READERS)
    cdr = [bytes([kinds.index(kind)]) + data for _, kind, data in messages()[:5]]
    return cdr + [bytes([kinds.index(kind) + 8]) + as_ros1(kind, data) for _, kind, data in messages()[:5]]


def read_message(data: bytes, folder: Path) -> None:
    from mutualformer.runtime.sources.bags import ros_images

    kinds = list(ros.READERS)
    content = ros.read(
        kinds[data[0] % len(kinds)] if data[0] < 8 else kinds[(data[0] - 8) % len(kinds)], data[1:], data[0] >= 8
    )
    if not isinstance(content, ros.CameraInfo):
        pixels = ros_images.pixels(content)
        assert pixels.dtype in (np.uint8, np.uint16, np.int16, np.float32)


def rvl_seeds(folder: Path) -> Sequence[bytes]:
    """Depth with and without holes, packed."""
    rng = np.random.default_rng(0)
    smooth = (1500 + np.cumsum(rng.integers(-9, 9, (12, 16)), axis=1)).astype(np.uint16)
    return [encode(smooth), encode(np.where(rng.random((12, 16)) < 0.5, smooth, 0).astype(np.uint16))]


def video_seeds(folder: Path) -> Sequence[bytes]:
    """Films of a colour and a depth track in three containers."""
    from tests.runtime.sources.video.films import grey, units, write

    rgb = ("ffv1", "bgr0", "COLOR", [(n / 15, grey(50 + n, (16, 16))) for n in range(4)])
    depth = ("ffv1", "gray16le", "DEPTH", [(n / 15, units(1500 + n, (16, 16))) for n in range(4)])
    lossy = ("mpeg4", "yuv420p", "", [(n / 15, grey(50 + n, (16, 16))) for n in range(4)])
    films = [write(folder / "a.mkv", rgb, depth), write(folder / "b.mp4", lossy), write(folder / "c.avi", lossy)]
    return [path.read_bytes() for path in films]


def play_video(data: bytes, folder: Path) -> int:
    """Play one film."""
    from mutualformer.runtime.sources.video import player

    (folder / "case.mkv").write_bytes(data)
    return play(player.open_source, str(folder / "case.mkv"))


def read_rvl(data: bytes, folder: Path) -> None:
    """Unpack one image."""
    rvl.decode(data, MAX_PIXELS)


def targets() -> list[Target]:

    refused = (CameraError,)
    return [
        Target("recording", recording_seeds, play_file(".mcap"), refused, WORDS),
        Target("recording-inside", recording_seeds, play_resealed, refused, WORDS),
        Target("mcap-bag", bag_seeds, play_file(".mcap"), refused, WORDS),
        Target("mcap-bag-inside", bag_seeds, play_resealed, refused, WORDS),
        Target("sqlite-bag", sqlite_seeds, play_file(".db3"), refused, WORDS),
        Target("ros1-bag", ros1_seeds, play_file(".bag"), refused, WORDS),
        Target("video", video_seeds, play_video, refused, (b"COLOR", b"DEPTH", b"\x1a\x45\xdf\xa3", b"moov", b"idx1")),
        Target("rvl", rvl_seeds, read_rvl, (DataError,)),
        Target("message", message_seeds, read_message, (DataError,), WORDS),
    ]
