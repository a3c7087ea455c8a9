"""One file in, one file out: a picture's cut-out, mask or overlay by the file's ending; a video's frames as a video."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime.files import replacing
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction.look import Look
from mutualformer.runtime.prediction.result import Prediction
from mutualformer.runtime.prediction.saving import KINDS
from mutualformer.runtime.sources.pictures import natural_key

PIPE = "-"  # standard input as a SOURCE, standard output as a FILE
PICTURES = {".png": "cutout", ".webp": "cutout", ".jpg": "overlay", ".jpeg": "overlay", ".json": "json"}
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm")


class OutputError(InputError):
    """``-o FILE`` cannot be made that way: one sentence."""


def kind_of(file: str, what: Sequence[str] | None, look: Look) -> tuple[str, str]:
    """(kind, suffix) of the one file: as ``--what`` says, else by the ending. Raises OutputError."""
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


def encode(result: Prediction, kind: str, suffix: str, look: Look) -> bytes:
    """One picture's file. Raises RenderError."""
    if kind == "json":
        return KINDS["json"][1](result, look)
    if kind == "cutout":
        return rendering.encoded(result.cutout(look.background, look.crop), suffix, result.icc)
    if kind in ("mask", "binary"):
        grey = rendering.grey(result.soft()) if kind == "mask" else result.binary().astype(np.uint8) * np.uint8(255)
        return rendering.encoded(np.asarray(grey, np.uint8), suffix)
    return rendering.encoded(result.overlay() if kind == "overlay" else result.contour(), suffix, result.icc)


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
    """SOURCEs with patterns (``'*.jpg'``, quoted) as the files they match, and standard input as a file while it lasts.

    Raises OutputError.
    """
    with ExitStack() as stack:
        files: list[str] = []
        for text in texts:
            if text == PIPE:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "stdin").write_bytes(sys.stdin.buffer.read())
                files.append(str(folder / "stdin"))
            elif glob.has_magic(text) and "://" not in text and not os.path.exists(text):
                matches = sorted(glob.glob(text, recursive=True), key=natural_key)
                if not matches:
                    raise OutputError(f"{text}: matches no file")
                files += matches
            else:
                files.append(text)
        yield tuple(files)


def video(path: Path, suffix: str, fps: float, source: str, shape: tuple[int, int]) -> WithSound:
    """A video of RGB frames (H, W, 3) to write to and to close, with ``source``'s sound. Raises OutputError."""
    if importlib.util.find_spec("av") is None:
        raise OutputError("a video out needs the package av: pip install 'mutualformer[video]'")
    return WithSound(path, suffix, fps, source, shape)


class WithSound:
    """By PyAV: H.264 (VP9 in WebM), and the packets of the source's sound as they are."""

    def __init__(self, path: Path, suffix: str, fps: float, source: str, shape: tuple[int, int]) -> None:
        av: Any = importlib.import_module("av")
        self._av, self._count, self._fps = av, 0, fps
        self._file = av.open(str(path), "w")
        codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
        self._video = self._file.add_stream(codec, rate=Fraction(round(fps * 1000), 1000))
        self._video.height, self._video.width = (side + side % 2 for side in shape)
        self._video.pix_fmt = "yuv420p"
        self._packets: Iterator[Any] = iter(())
        self._sound = self._next = self._source = None
        if os.path.isfile(source):
            self._source = av.open(source)
            if self._source.streams.audio:
                self._sound = self._file.add_stream_from_template(self._source.streams.audio[0])
                self._packets = self._source.demux(self._source.streams.audio[0])

    def write(self, frame: NDArray[np.uint8]) -> None:
        """The next frame, and the sound up to its end."""
        height, width = frame.shape[:2]
        frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        for packet in self._video.encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")):
            self._file.mux(packet)
        self._count += 1
        self._add_sound(self._count / self._fps)

    def _add_sound(self, until: float) -> None:
        """Packets of the sound before ``until`` seconds."""
        while self._sound is not None:
            packet, self._next = self._next or next(self._packets, None), None
            if packet is None:
                return
            if packet.dts is None:
                continue
            if float(packet.dts * packet.time_base) > until:
                self._next = packet
                return
            packet.stream = self._sound
            self._file.mux(packet)

    def close(self) -> None:
        """Finish the file."""
        for packet in self._video.encode():
            self._file.mux(packet)
        self._add_sound(self._count / self._fps)
        self._file.close()
        if self._source is not None:
            self._source.close()


def frame_rate(source: str, otherwise: float = 30.0) -> float:
    """Frames a second that a video file names; ``otherwise`` where it names none, or is none."""
    capture = cv2.VideoCapture(source) if os.path.isfile(source) else None
    fps = float(capture.get(cv2.CAP_PROP_FPS)) if capture is not None else 0.0
    return fps if 0 < fps <= 1000 else otherwise
