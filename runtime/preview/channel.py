"""One camera of the page: a sink that keeps the newest result and its pictures, and what the page reports about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mutualformer.runtime.preview.encode import Encoder
from mutualformer.runtime.untrusted.finite import finite_json
from mutualformer.runtime.untrusted.printable import printable

if TYPE_CHECKING:
    from mutualformer.runtime.preview.live_page import LivePage
    from mutualformer.runtime.sources.base import BaseCamera
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import Result

BOUNDARY = "mutualformer-frame"
Play = Callable[[float, float | None, float | None], None]  # frames, position and rate of Capture.play
# The page gets no more pictures than this: people do not see more, and phones do not decode more.
MOST_FPS = 30.0
# A state that begins with one of these words means: the newest picture may not show what the camera sees now. The word
# "finished" is missing here, because the last picture of a recording stays valid.
OVER = ("reconnecting", "lost", "stopped", "opening", "late", "frozen")
# The distance at a clicked point is the median of the measured pixels up to this many rows and columns away.
PROBE_PIXELS = 2


@dataclass(frozen=True)
class Bundle:
    """One frame as the page gets it. ``range_m``: (near, far) of the depth colours in metres, (0, 0) without."""

    number: int
    views: dict[str, bytes]
    seen: dict[str, Any]
    range_m: tuple[float, float]


class Channel:
    """A sink, one for each camera. ``page``: where its pictures go; nothing is encoded while nobody watches.

    ``snapshot`` returns the pipeline's numbers. ``recorder`` is what the record button switches. ``play`` is
    :meth:`Capture.play`; None where nothing can be paused.
    """

    name = "preview"

    def __init__(
        self,
        index: int,
        page: LivePage,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None,
        play: Play | None,
    ) -> None:
        self.index, self.recorder, self.play = index, recorder, play
        self.latest: Result | None = None
        self.bundle: Bundle | None = None
        self.encode = Encoder()
        self.details = page.details
        self._page, self._snapshot = page, snapshot
        self._encoded_at = 0.0

    def open(self, camera: BaseCamera) -> None:
        """As Sink.open; there is nothing to open."""

    def write(self, result: Result) -> None:
        """Keep ``result`` as the latest; encode and publish its pictures where somebody watches and it is time."""
        self.latest = result
        # A tenth of slack: a camera of exactly MOST_FPS must not lose every other frame to jitter.
        if time.monotonic() - self._encoded_at >= 0.9 / MOST_FPS:
            self._show(result)

    def close(self) -> None:
        """Show the last frame, which may have come too soon after the one before it."""
        if self.latest is not None:
            self._show(self.latest)

    def _show(self, result: Result) -> None:
        if self._page.watched:
            self._encoded_at = time.monotonic()
            self._page.show(self.index, self.pictures(result))

    def pictures(self, result: Result) -> Bundle:
        """The frame's views as JPEG, with the boxes and labels that the page draws on them."""
        views = self.encode(result)
        range_m = (self.encode.near, self.encode.far) if "depth" in views else (0.0, 0.0)
        return Bundle(result.number, views, sight(result), range_m)

    def news(self) -> dict[str, Any]:
        """The pipeline's numbers; ``seen`` only while the camera really shows it."""
        news = {**self._snapshot(), "clock": round(time.monotonic(), 3)}
        if self.latest is not None and not str(news.get("state", "")).startswith(OVER):
            news["seen"] = sight(self.latest)
        return {key: clean(value) for key, value in news.items()}


def clean(value: Any) -> Any:
    """``value`` with the strings inside it made printable: devices and files may have any name."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value


def sight(result: Result) -> dict[str, Any]:
    """What is drawn upon a picture: ``objects`` and the nearest one's distance, or ``match`` and ``similarity``; and
    its ``position`` in a file."""
    line = {**result.to_json(), "position": result.frame.position}
    keys = ("objects", "nearest_object_m", "match", "similarity", "position")
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
    """A frame's views as parts of a multipart stream. ``only``: this view alone.

    The last part carries what is seen in the frame, so that pictures and boxes never disagree.
    """
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
