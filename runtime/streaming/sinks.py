"""Sinks take results. Each has its own thread and queue, so that a slow or failing sink affects no other."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.images.objects import SalientObject, nearest_object_m, rounded
from mutualformer.runtime.mailbox import Mailbox
from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.sources.frame import Frame


@dataclass(frozen=True)
class Result:
    """One frame and the model's answer.

    ``outputs``: the model's tensors without the batch axis, float32: ``saliency`` (h, w) in [0, 1] at the model's
    size, or ``feature`` (F,). ``stages``: seconds per stage. ``number``: counts results from 0. ``dropped``: frames
    lost so far because the model was busy. ``match``: for ReID with a gallery, (identity, cosine similarity).
    ``objects``: the salient objects, the nearest first.
    """

    frame: Frame
    outputs: dict[str, NDArray[np.float32]]
    stages: dict[str, float]
    number: int
    dropped: int
    match: tuple[str, float] | None = None
    objects: tuple[SalientObject, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One frame in plain JSON types: times, latency in ms, and what the model found.

        SOD: ``objects``, the nearest first (:meth:`SalientObject.to_json`), and ``nearest_object_m``, the distance of
        the first, None without. ReID: ``match`` and ``similarity`` with a gallery, else ``feature``.
        """
        line: dict[str, Any] = {
            "type": "frame",
            "number": self.number,
            "sequence": self.frame.sequence,
            "timestamp": self.frame.timestamp,
            "skew_ms": round(1e3 * self.frame.skew, 3),
            "dropped": self.dropped,
            "latency_ms": {stage: round(1e3 * seconds, 3) for stage, seconds in self.stages.items()},
        }
        if "saliency" in self.outputs:
            line["nearest_object_m"] = rounded(nearest_object_m(self.objects))
            line["objects"] = [one.to_json() for one in self.objects]
        elif self.match is not None:
            line["match"], line["similarity"] = self.match[0], round(self.match[1], 4)
        elif "feature" in self.outputs:
            line["feature"] = [round(float(value), 6) for value in self.outputs["feature"]]
        return line


class Sink(Protocol):
    """``open`` once when the camera is known, ``write`` per result, ``close`` once at the end; all on one thread."""

    name: str

    def open(self, camera: BaseCamera) -> None:
        """Called once, before the first result, when the camera is known."""

    def write(self, result: Result) -> None:
        """Take one result. What it raises ends this sink and nothing else."""

    def close(self) -> None:
        """Called once, after the last result."""


@dataclass
class SinkStatus:
    """The status of a sink. ``state``: starting, running, failed, stalled or closed."""

    state: str = "starting"
    delivered: int = 0
    dropped: int = 0
    error: str = ""


class SinkRunner:
    """Feeds one sink from its own thread.

    From a file a sink gets every frame: the pipeline waits for it, at most ``stall_s`` seconds per frame; then the sink
    counts as stalled and gets no more. From a live source, frames that do not fit into the queue are dropped and
    counted. ``latest``: the sink needs only the newest frame (a live view).
    """

    def __init__(self, sink: Sink, *, latest: bool = False, capacity: int = 16, stall_s: float = 30.0) -> None:
        self.sink, self.status = sink, SinkStatus()
        self._mailbox: Mailbox[Result] = Mailbox(lossless=not latest, capacity=capacity)
        self._stall_s, self._lossless = stall_s, False
        self._latest = latest
        self._thread: threading.Thread | None = None

    def start(self, camera: BaseCamera) -> None:
        """Start the sink's thread; from now on :meth:`offer` hands results over."""
        self._lossless = not camera.live and not self._latest
        self._thread = threading.Thread(target=self._run, args=(camera,), name=f"sink-{self.sink.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still takes results: not failed, stalled or closed."""
        return self.status.state in ("starting", "running")

    def offer(self, result: Result) -> None:
        """Hand over a result; returns at once unless the source is a recording."""
        if not self.alive:
            return
        if not self._mailbox.put(result, self._stall_s if self._lossless else 0.0) and self.alive:
            self.status.dropped += 1
            if self._lossless:
                self._end("stalled", f"{self.sink.name} was stuck for {self._stall_s:g} s, left out")

    def _run(self, camera: BaseCamera) -> None:
        try:
            self.sink.open(camera)
            if self.alive:
                self.status.state = "running"
            while not self._mailbox.finished:
                result = self._mailbox.get(0.5)
                if result is not None and self.alive:
                    self.sink.write(result)
                    self.status.delivered += 1
        except Exception as error:  # an error of a sink must not end the stream
            self._end("failed", str(error) or type(error).__name__)
        finally:
            try:
                self.sink.close()
            except Exception as error:
                self._end("failed", str(error) or type(error).__name__)

    def _end(self, state: str, error: str) -> None:
        self.status.state, self.status.error = state, self.status.error or error
        self._mailbox.close()

    def stop(self, timeout: float = 5.0) -> None:
        """Let the sink finish its queue; it may take ``timeout`` seconds per frame."""
        self._mailbox.close()
        if self._thread is not None:
            delivered = -1
            while self._thread.is_alive() and self.status.delivered > delivered:
                delivered = self.status.delivered
                self._thread.join(timeout)
            if self._thread.is_alive():
                self._end("stalled", f"{self.sink.name} did not finish within {timeout:g} s")
        if self.alive:
            self.status.state = "closed"

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON types; a latest-only sink's replaced frames count as dropped."""
        details = getattr(self.sink, "details", dict)
        return {**vars(self.status), "dropped": self.status.dropped + self._mailbox.dropped, **details()}
