"""One camera of the page: a sink that keeps the newest result and its pictures, and what the page says of it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mutualformer.runtime.preview.encode import Encoder
from mutualformer.runtime.untrusted.finite import finite_json
from mutualformer.runtime.untrusted.printable import printable

if TYPE_CHECKING:
    from mutualformer.runtime.sources.base import Camera
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import Result

BOUNDARY = "mutualformer-frame"
# Beginnings of states in which the newest picture says nothing about what is in front of the camera now.
OVER = ("reconnecting", "lost", "finished", "stopped", "opening", "late", "frozen")
# Measured pixels within so many of a clicked point give its distance.
PROBE_PIXELS = 2


@dataclass(frozen=True)
class Bundle:
    """One frame as the page gets it. ``range_m``: (near, far) of the depth colours in metres, (0, 0) without."""

    number: int
    views: dict[str, bytes]
    seen: dict[str, Any]
    range_m: tuple[float, float]


class Channel:
    """A sink. ``snapshot``: gives the pipeline's numbers. ``recorder``: what the record button switches.

    ``watched``: True while somebody looks; nothing is encoded otherwise. ``publish``: called with each new bundle, from
    the sink's thread.
    """

    name = "preview"

    def __init__(
        self,
        index: int,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None,
        fps: float,
        watched: Callable[[], bool],
        publish: Callable[[int, Bundle], None],
        details: Callable[[], dict[str, Any]],
    ) -> None:
        self.index, self.recorder = index, recorder
        self.latest: Result | None = None
        self.bundle: Bundle | None = None
        self.encode = Encoder()
        self.details = details
        self._snapshot, self._watched, self._publish = snapshot, watched, publish
        self._period, self._encoded_at = 1.0 / fps, 0.0
        self._recording_since: float | None = None

    def open(self, camera: Camera) -> None:
        """As Sink.open; there is nothing to open."""

    def write(self, result: Result) -> None:
        """Keep ``result`` as the latest; encode and publish its pictures where somebody looks and it is time."""
        self.latest = result
        now = time.monotonic()
        if not self._watched() or now - self._encoded_at < 0.9 * self._period:
            return
        self._encoded_at = now
        self._publish(self.index, self.pictures(result))

    def close(self) -> None:
        """As Sink.close; there is nothing to close."""

    def pictures(self, result: Result) -> Bundle:
        """The frame's views as JPEG, and what is drawn upon them."""
        views = self.encode(result)
        range_m = (self.encode.near, self.encode.far) if "depth" in views else (0.0, 0.0)
        return Bundle(result.number, views, sight(result), range_m)

    def news(self) -> dict[str, Any]:
        """The pipeline's numbers; ``seen`` only while the camera really shows it."""
        news = self._snapshot()
        news["clock"] = round(time.monotonic(), 3)
        latest = self.latest
        if latest is not None and not str(news.get("state", "")).startswith(OVER):
            news["seen"] = {key: value for key, value in latest.to_json().items() if key != "feature"}
        recording = (news.get("sinks") or {}).get("recorder")
        if recording is not None:
            recording.update(self._tape(recording))
        return {key: clean(value) for key, value in news.items()}

    def _tape(self, recording: dict[str, Any]) -> dict[str, Any]:
        """How long this recording has run and how much room there is."""
        if not recording.get("recording"):
            self._recording_since = None
        elif self._recording_since is None:
            self._recording_since = time.monotonic()
        since = self._recording_since
        more = {"elapsed_s": round(time.monotonic() - since, 1) if since is not None else 0.0}
        folder = Path(recording.get("path") or ".").absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with contextlib.suppress(OSError):  # the disk is gone; the recorder says so itself
            more["free_bytes"] = shutil.disk_usage(folder).free
        return {key: value for key, value in more.items() if not recording.get(key)}


def clean(value: Any) -> Any:
    """``value`` with the strings inside it made printable: names of devices and files are strangers' words."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value


def sight(result: Result) -> dict[str, Any]:
    """What is drawn upon a picture: ``objects`` and the nearest one's distance, or ``match`` and ``similarity``."""
    line = result.to_json()
    keys = ("objects", "nearest_object_m", "match", "similarity")
    return {key: clean(line[key]) for key in keys if line.get(key) is not None}


def distance_at(result: Result, x: float, y: float) -> float | None:
    """Metres at a point given as fractions of the picture: the median of what was measured around it, or None."""
    height, width = result.frame.depth.shape
    column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
    rows = slice(max(0, row - PROBE_PIXELS), row + PROBE_PIXELS + 1)
    near = result.frame.depth[rows, max(0, column - PROBE_PIXELS) : column + PROBE_PIXELS + 1]
    measured = near[near > 0]
    return float(np.median(measured)) if measured.size else None


def parts(index: int, bundle: Bundle, only: str | None = None) -> bytes:
    """A frame's views as parts of a multipart stream. The last carries what is seen in it, so that the two never
    disagree. ``only``: this view alone."""
    views = [(name, data) for name, data in bundle.views.items() if only in (None, name)]
    out = []
    for position, (name, data) in enumerate(views):
        final = position == len(views) - 1
        near, far = bundle.range_m
        about = f"X-Range: {near:.3f},{far:.3f}\r\nX-Seen: {finite_json(bundle.seen)}\r\n" if final else ""
        head = (
            f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\nX-Camera: {index}\r\n"
            f"X-Number: {bundle.number}\r\nX-View: {name}\r\nX-Final: {int(final)}\r\n{about}\r\n"
        )
        out += [head.encode(), data, b"\r\n"]
    return b"".join(out)
