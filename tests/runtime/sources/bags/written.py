"""Writes small MCAP bags of ROS 2 messages for the tests: one row per message, in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mutualformer.runtime.recording.mcap_file import McapFile
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.frame import Intrinsics

START = 1_700_000_000.0
# topic, type, CDR bytes
Row = tuple[str, str, bytes]


def image(
    topic: str, pixels: np.ndarray, encoding: str, index: int = 0, eye: str = "eye", stamp: float | None = None
) -> Row:
    """Frame ``index`` of 30 a second, or of another header time."""
    seconds = START + index / 30 if stamp is None else stamp
    return topic, ros.IMAGE, b"".join(ros.write_image(pixels, encoding, seconds, eye))


def raw_image(topic: str, data: bytes, encoding: str, size: tuple[int, int], step: int, *, big: bool = False) -> Row:
    """An image of any bytes. ``size``: (H, W)."""
    message = ros.Writer().header(START, "eye").add("I", *size).text(encoding).add("B", int(big))
    return topic, ros.IMAGE, b"".join(message.add("I", step, len(data)).raw(data).done())


def compressed_bytes(pixels: np.ndarray, form: str, ending: str, stamp: float, eye: str, lead: bytes = b"") -> bytes:
    data = lead + cv2.imencode(ending, pixels)[1].tobytes()
    return b"".join(ros.Writer().header(stamp, eye).text(form).add("I", len(data)).raw(data).done())


def compressed(
    topic: str, pixels: np.ndarray, form: str, ending: str, index: int = 0, eye: str = "eye", lead: bytes = b""
) -> Row:
    return topic, ros.COMPRESSED, compressed_bytes(pixels, form, ending, START + index / 30, eye, lead)


def info(topic: str, size: tuple[int, int], focal: float, eye: str = "eye") -> Row:
    """``size``: (H, W)."""
    lens = Intrinsics(size[1], size[0], focal, focal, size[1] / 2, size[0] / 2, "plumb_bob")
    return topic, ros.INFO_TYPE, b"".join(ros.write_camera_info(lens, START, eye))


def write_bag(path: Path, rows: Sequence[Row], logs: Sequence[float] | None = None) -> Path:
    """``logs``: seconds of recording since START, else one nanosecond after the other."""
    file = McapFile(path, "test", chunk_bytes=1 << 16)
    channels: dict[str, int] = {}
    for number, (topic, kind, data) in enumerate(rows):
        if topic not in channels:
            channels[topic] = file.channel(topic, kind, ros.SCHEMAS.get(kind, ""))
        later = number if logs is None else round(logs[number] * 1e9)
        file.message(channels[topic], [data], round(START) * 10**9 + later, number)
    file.close()
    return path


def rgb(index: int, shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Colour that only frame ``index`` has."""
    return np.random.default_rng(index).integers(0, 256, (*shape, 3), np.uint8)


def units(index: int, shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Depth in millimetres, 1 … 4 m."""
    return np.random.default_rng(100 + index).integers(1000, 4000, shape, np.uint16)
