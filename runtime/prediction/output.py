"""One file in, one file out: the file's ending decides between a cut-out, an overlay, JSON and a video."""

from __future__ import annotations

import glob
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.extras import install
from mutualformer.runtime.files import replacing
from mutualformer.runtime.prediction.look import Look
from mutualformer.runtime.sources.grammar import PATH, parse
from mutualformer.runtime.sources.pictures import natural_key

PIPE = "-"  # standard input as a SOURCE, standard output as a FILE
PICTURES = {".png": "cutout", ".webp": "cutout", ".jpg": "overlay", ".jpeg": "overlay", ".json": "json"}
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm")

log = logging.getLogger("mutualformer")


class OutputError(InputError):
    """``-o FILE`` cannot be made that way."""


def kind_of(file: str, what: Sequence[str] | None, look: Look) -> tuple[str, str]:
    """(kind, suffix) of the one file: the kind that ``--what`` names, else the ending's. Raises OutputError."""
    suffix = ".png" if file == PIPE else Path(file).suffix.lower()
    if suffix in VIDEOS:
        return "video", suffix
    if file == PIPE and what == ("json",):
        suffix = ".json"
    if suffix not in PICTURES:
        raise OutputError(f"-o {file}: expected a name ending in {', '.join([*PICTURES, *VIDEOS])}, or - for a PNG")
    if what is not None and len(what) != 1:
        raise OutputError(f"-o {file} is one file and --what names {len(what)} kinds: give one, or --out DIR")
    kind = what[0] if what else "cutout" if look.background is not None and suffix != ".json" else PICTURES[suffix]
    if (kind == "json") != (suffix == ".json"):
        raise OutputError(f"-o {file}: {kind} and {suffix} do not go together")
    return kind, suffix


def deliver(data: bytes, file: str) -> None:
    """Write a whole file or none of it, or all to standard output. Raises OSError."""
    if file == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with replacing(file) as beside:
        beside.write_bytes(data)


@contextmanager
def sources(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Expand quoted patterns (``'*.jpg'``), and keep standard input in a file meanwhile. Raises OutputError."""
    with ExitStack() as stack:
        files: list[str] = []
        for text in texts:
            if text == PIPE:
                if not (data := sys.stdin.buffer.read()):
                    raise OutputError("standard input is empty, expected a picture")
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "stdin").write_bytes(data)
                files.append(str(folder / "stdin"))
            elif glob.has_magic(text) and not os.path.exists(text) and is_pattern(text):
                matches = sorted(glob.glob(text, recursive=True), key=natural_key)
                if not matches:
                    raise OutputError(f"{text}: matches no file")
                files += matches
            else:
                files.append(text)
        yield tuple(files)


def is_pattern(text: str) -> bool:
    """Whether the wildcards in ``text`` are meant as such: not the question mark before an address's options."""
    address = parse(text)
    return address.kind == PATH and not any(address.options.values())


class WithSound:
    """A video of RGB frames (H, W, 3) by PyAV: H.264 (VP9 in WebM), and the source's sound packets unchanged."""

    def __init__(self, path: Path, suffix: str, source: str, shape: tuple[int, int]) -> None:
        """At the frame rate of ``source`` where that is a file, else 30. ``shape``: (H, W). Raises OutputError."""
        try:
            av: Any = importlib.import_module("av")
        except ModuleNotFoundError as error:
            raise OutputError(f"a video out needs the package av: {install('video')}") from error
        self._av, self._count = av, 0
        self._source: Any = None
        with suppress(av.error.FFmpegError):  # a recording is a file too, and no film
            self._source = av.open(source) if os.path.isfile(source) else None
        self._rate = (self._source.streams.video[0].average_rate if self._source else None) or Fraction(30)
        self._file = av.open(str(path), "w")
        self._video = self._file.add_stream("libvpx-vp9" if suffix == ".webm" else "libx264", rate=self._rate)
        self._video.height, self._video.width = (side + side % 2 for side in shape)  # the codecs need even sides
        self._video.pix_fmt = "yuv420p"
        self._packets: Iterator[Any] = iter(())
        self._sound = self._next = None
        if self._source and self._source.streams.audio:
            (sound, *_) = self._source.streams.audio
            try:
                self._sound = self._file.add_stream_from_template(sound)
            except ValueError:  # as MP4's AAC into WebM
                log.warning("%s: its sound (%s) does not fit into %s, left out", source, sound.codec.name, suffix)
            else:
                self._packets = self._source.demux(sound)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Write the next frame, and the sound up to its end."""
        height, width = frame.shape[:2]
        frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        for packet in self._video.encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")):
            self._file.mux(packet)
        self._count += 1
        self._add_sound(self._count / self._rate)

    def _add_sound(self, until: Fraction) -> None:
        """Copy the sound packets before ``until`` seconds."""
        while self._sound is not None:
            packet, self._next = self._next or next(self._packets, None), None
            if packet is None:
                return
            if packet.dts is None:
                continue
            if packet.dts * packet.time_base > until:
                self._next = packet
                return
            packet.stream = self._sound
            self._file.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        for packet in self._video.encode():
            self._file.mux(packet)
        self._add_sound(self._count / self._rate)
        self._file.close()
        if self._source is not None:
            self._source.close()
