"""The picture tracks of a video file through PyAV (FFmpeg): which they are, and the frames of one by its own clock."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.untrusted.foreign import foreign

# A file may name others (playlists, concatenations): none of them is opened.
OPTIONS = {"protocol_whitelist": "none", "max_pixels": str(MAX_PIXELS)}
USUAL_FPS = 30.0  # where neither a frame nor its track says anything
GREY_TOLERANCE = 8  # between the planes of a grey picture that was coded in colour

# PyAV's log callback waits for the GIL in a decoder's thread, and closing a decoder waits for its threads: a
# message at that moment would deadlock. Without a callback FFmpeg logs nothing.
av.logging.set_level(None)


@dataclass(frozen=True)
class Track:
    """``index``: as FFmpeg counts. ``depth``: grey of more than 8 bits. ``first``: what players choose.

    ``start``, ``seconds``: time of the first frame and from there to the last; 0 seconds where the file does not say.
    """

    index: int
    title: str
    depth: bool
    first: bool
    alpha: bool
    start: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.index} ({self.title or ('16 bits of grey' if self.depth else 'colour')})"


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """The container, read through a Python file. Raises CameraError."""
    if not path.is_file():
        raise CameraError(f"{path}: no such video file")
    with path.open("rb") as stream:
        with foreign("FFmpeg", CameraError, f"{path}: cannot be opened as a video", "is it whole?"):
            container = av.open(stream, container_options=OPTIONS, metadata_errors="replace")
        with container:
            yield container


def tracks(path: Path) -> list[Track]:
    """Its picture tracks, without cover pictures. Raises CameraError."""
    with open_file(path) as container, foreign("FFmpeg", CameraError, str(path)):
        best = container.streams.best("video")
        found = []
        for stream in container.streams.video:
            codec = stream.codec_context
            if stream.disposition & av.stream.Disposition.attached_pic or codec is None:
                continue
            parts: Any = codec.format.components if codec.format is not None else ()
            title = stream.metadata.get("title", "") or stream.metadata.get("handler_name", "")
            depth = len(parts) == 1 and parts[0].bits > 8
            alpha = stream.metadata.get("alpha_mode") == "1" or any(part.is_alpha for part in parts)
            if codec.height * codec.width > MAX_PIXELS:
                raise CameraError(f"{path}: declares {codec.width}×{codec.height} pixels, expected at most 64 million")
            first = best is not None and stream.index == best.index
            found.append(Track(stream.index, title, depth, first, alpha, *_span(container, stream)))
    if not found:
        raise CameraError(f"{path}: cannot be opened as a video; it has no picture track")
    return found


def _span(container: Any, stream: Any) -> tuple[float, float]:
    """``start`` and ``seconds`` of a Track."""
    base, whole = float(stream.time_base or 0), 1 / av.time_base
    start = stream.start_time * base if stream.start_time is not None else (container.start_time or 0) * whole
    # Matroska has no duration of a track; its whole counts from time 0, whenever the first frame comes.
    seconds = stream.duration * base if stream.duration else (container.duration or 0) * whole - start
    return start, max(0.0, seconds - 1 / (float(stream.average_rate or 0) or USUAL_FPS))


def choose(path: Path, found: list[Track], depth: bool, wish: int) -> tuple[Track | None, str]:
    """The track of colour (or depth, None where there is none) and a note or "". ``wish``: its index, or -1.

    Raises CameraError where several could be meant.
    """
    what, option, words = ("depth", "depth_track", "depth") if depth else ("colour", "track", "colou?r|rgb")
    fitting = [track for track in found if (track.index == wish if wish >= 0 else track.depth == depth)]
    titled = [track for track in fitting if re.search(words, track.title, re.IGNORECASE)]
    fitting = titled if len(titled) == 1 else fitting
    if len(fitting) == 1 or (not fitting and depth and wish < 0):
        return (fitting[0] if fitting else None), ""
    names = ", ".join(map(str, found))
    if depth or not fitting:
        raise CameraError(f"{path}: has {len(fitting)} {what} tracks among {names}; name one with ?{option}=NUMBER")
    chosen = next((track for track in fitting if track.first), fitting[0])
    return chosen, f"{path}: plays track {chosen} of {names}; another one is played with ?{option}=NUMBER"


def frames(
    path: Path,
    track: Track,
    fps: float,
    picture: Callable[[Any], NDArray[Any]],
    corrupt: Callable[[str], None],
    since: float = -math.inf,
) -> Iterator[tuple[float, NDArray[Any]]]:
    """(seconds, picture) of each frame by the file's own clock, or by ``fps`` where that is not 0.

    ``picture``: converts a frame. ``corrupt``: called for each frame that cannot be decoded. ``since``: seconds of the
    file's clock before which frames are left out.
    """
    with open_file(path) as container:
        stream = next(one for one in container.streams.video if one.index == track.index)
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 0) or USUAL_FPS
        count, last = 0, -1 / rate
        if since > track.start:
            # Files without an index cannot seek; they are decoded from their first frame.
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(round(since / (stream.time_base or 1)), stream=stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                decoded = packet.decode() if packet is not None else []
            except av.error.FFmpegError as error:
                corrupt(f"corrupt after {max(last, 0):.3f} s ({error.strerror})")
                if isinstance(error, av.error.InvalidDataError):
                    continue
                return
            if packet is None:
                return
            for frame in decoded:
                last = count / fps if fps else frame.time if frame.time is not None else last + 1 / rate
                count += 1
                if last < since:
                    continue
                if frame.is_corrupt:
                    corrupt(f"corrupt at {last:.3f} s")
                    continue
                with foreign("FFmpeg", CameraError, str(path)):
                    image = picture(frame)
                yield last, image


def upright(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, turned as the file asks."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(colour(frame), turns))


def colour(frame: Any) -> NDArray[np.uint8]:
    """(H, W, 3) RGB as stored."""
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def grey(frame: Any) -> NDArray[Any]:
    """(H, W) levels as stored, 16 or 8 bits. Raises CameraError for a picture in colour."""
    if len(frame.format.components) == 1:
        levels = frame.to_ndarray()
        return np.ascontiguousarray(levels, np.uint8 if levels.dtype == np.uint8 else np.uint16)
    image = colour(frame)  # a codec that knows no grey: three equal planes
    if int(np.ptp(image.astype(np.int16), axis=2).max()) > GREY_TOLERANCE:
        raise CameraError("a depth video in colour, expected grey levels; colourised depth is lost")
    return np.ascontiguousarray(image[..., 1])
