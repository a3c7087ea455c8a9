"""Writes small films for the tests: any codec, any times, several tracks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# codec, pixel format, title, (seconds, picture) of each frame
Track = tuple[str, str, str, Sequence[tuple[float, np.ndarray]]]
FORMATS = {(2, "uint16"): "gray16le", (3, "uint8"): "rgb24"}


def write(path: Path, *tracks: Track) -> Path:
    with av.open(str(path), "w") as container:
        streams, moments = [], []
        for number, (codec, pixels, title, frames) in enumerate(tracks):
            stream = container.add_stream(codec, rate=15)
            stream.height, stream.width = frames[0][1].shape[:2]
            stream.pix_fmt = pixels
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            if title:
                stream.metadata["title"] = title
            streams.append(stream)
            moments += [(seconds, number, picture) for seconds, picture in frames]
        for seconds, number, picture in sorted(moments, key=lambda moment: moment[0]):
            kind = "rgba" if picture.ndim == 3 and picture.shape[2] == 4 else FORMATS[picture.ndim, str(picture.dtype)]
            frame = av.VideoFrame.from_ndarray(picture, format=kind)
            if kind != tracks[number][1]:
                frame = frame.reformat(format=tracks[number][1])
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(streams[number].encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def grey(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) of one level."""
    return np.full((*size, 3), level, np.uint8)


def units(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W) of depth."""
    return np.full(size, level, np.uint16)


def film(path: Path, levels: Sequence[int], times: Sequence[float] = ()) -> Path:
    """Grey frames as lossless colour, 20 a second unless ``times`` say otherwise."""
    stamps = times or [number / 20 for number in range(len(levels))]
    return write(path, ("ffv1", "bgr0", "", [(t, grey(v)) for t, v in zip(stamps, levels, strict=True)]))


def depth(path: Path, levels: Sequence[int], times: Sequence[float] = (), size: tuple[int, int] = (48, 64)) -> Path:
    """A lossless film of 16-bit levels."""
    stamps = times or [number / 20 for number in range(len(levels))]
    return write(path, ("ffv1", "gray16le", "", [(t, units(v, size)) for t, v in zip(stamps, levels, strict=True)]))
