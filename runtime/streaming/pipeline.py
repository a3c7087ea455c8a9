"""Camera → model → sinks, frame after frame: the loop behind ``mutualformer stream``, usable without it.

for result in Pipeline(lambda: opening.camera("synthetic://"), session).results(): ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.images.objects import SalientObject, find_objects
from mutualformer.runtime.preprocess import Runner, prepare
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.depth_range import DEFAULT_RANGE
from mutualformer.runtime.sources.frame import Frame, infrared
from mutualformer.runtime.streaming.capture import Capture, Opener, Retry
from mutualformer.runtime.streaming.flight import Arrays, Flight, Started
from mutualformer.runtime.streaming.naming import Naming
from mutualformer.runtime.streaming.sinks import Result, SinkRunner
from mutualformer.runtime.streaming.telemetry import Telemetry
from mutualformer.runtime.streaming.tracking import Tracker

Match = Callable[[NDArray[np.float32]], tuple[str, float]]


class Pipeline:
    """One run over one source. ``session`` None shows and records the camera without a model.

    ``frames``: stop after this many results, None = when the source ends. ``match``: feature (F,) → (identity,
    similarity), of the whole frame. ``naming``: names the objects of a SOD model. ``track``: objects keep their
    identities from frame to frame, and their distances are smoothed.
    ``stop()`` may be called from a signal handler or another thread.
    """

    def __init__(
        self,
        opener: Opener,
        session: Runner | None = None,
        sinks: Sequence[SinkRunner] = (),
        *,
        frames: int | None = None,
        match: Match | None = None,
        naming: Naming | None = None,
        retry: Retry | None = None,
        track: bool = True,
    ) -> None:
        limits = session.contract.depth_range_m if session is not None else DEFAULT_RANGE
        self.capture = Capture(opener, retry, limits)
        self.session, self.sinks, self.match = session, list(sinks), match
        self._naming = naming
        self.telemetry = Telemetry()
        self._tracker = Tracker() if track else None
        self._flight = Flight(session)
        self._frames = float("inf") if frames is None else frames
        self._stop = threading.Event()
        self._finished = False

    def stop(self) -> None:
        """End after the frame in progress; from any thread, and more than once."""
        self._stop.set()

    def run(self) -> dict[str, Any]:
        """Run to the end; returns :meth:`snapshot` over the whole run. Raises CameraError when the camera is lost."""
        for _ in self.results():
            pass
        return self.snapshot(whole=True)

    def results(self) -> Generator[Result, None, None]:
        """Yield every result as it is made. Raises CameraError, InputError, and what the model raises."""
        self.capture.start()
        try:
            self._await_camera()
            yield from self._overlapped(self._flight)
            if self.capture.error:
                raise CameraError(self.capture.error)
        finally:
            self._finished = True
            self._flight.abandon()
            self.capture.stop()
            for sink in self.sinks:
                sink.stop()

    def _wanted(self, started: int = 0) -> bool:
        """Whether to take another frame while ``started`` frames are in flight."""
        return self.telemetry.frames + started < self._frames and not self._stop.is_set()

    def _overlapped(self, flight: Flight) -> Iterator[Result]:
        """Keep ``flight.depth`` frames in flight where frames arrive fast enough."""
        while flight or self._wanted():
            item = None
            if len(flight) < flight.depth and self._wanted(len(flight)):
                if flight and self.capture.live:
                    # A live frame that is taken early waits in line and grows old. Holding back until the model is
                    # nearly free takes a newer one.
                    flight.hold(self._stop)
                item = self.capture.get(0.0 if flight else 0.1)
            if item is not None:
                taken_at = time.monotonic()
                inputs: dict[str, NDArray[Any]] = {}
                if self.session is not None:
                    frame, contract = item.frame, self.session.contract
                    # Preparing the next frame overlaps with the model working on the last one.
                    inputs = prepare(contract, frame.rgb, self._second(frame, contract))
                flight.submit(item, taken_at, inputs)
                if len(flight) < flight.depth:
                    continue
            if flight:
                # Answers come in the order of the frames, so results need no sorting.
                yield self._result(*flight.collect())
            elif self.capture.finished:
                return

    def _await_camera(self) -> None:
        """Wait until the first attempt to open has ended; then start the sinks, which need the camera's calibration."""
        while not self._stop.is_set() and not self.capture.wait_opened(0.1):
            self.capture.watch()
        if self.capture.error and self.capture.camera is None:
            raise CameraError(self.capture.error)
        if self.capture.camera is not None:
            for sink in self.sinks:
                sink.start(self.capture.camera)

    def _result(self, started: Started, raw: Arrays, inferred: float) -> Result:
        item, outputs = started.item, {name: np.asarray(value[0], np.float32) for name, value in raw.items()}
        match = self.match(outputs["feature"]) if self.match is not None and "feature" in outputs else None
        objects: tuple[SalientObject, ...] = ()
        if "saliency" in outputs:
            objects, _ = find_objects(outputs["saliency"], item.frame.depth)
            if self._tracker is not None:
                objects = self._tracker.follow(objects)
            if self._naming is not None:
                objects = self._naming(item.frame, objects)
        end = time.monotonic()
        # A file's frames wait in memory because we read ahead; that wait is no latency of the camera.
        arrived = item.arrived if self.capture.live else started.taken_at - item.busy_s
        stages = {
            "capture": item.busy_s,
            "wait": started.taken_at - arrived - item.busy_s,
            "pre": started.prepared - started.taken_at,
            "infer": inferred - started.prepared,
            "post": end - inferred,
            "total": end - arrived,
        }
        number = self.telemetry.frames
        self.telemetry.add(stages, item.frame.skew, end)
        # A sink that is slow drops or waits in its own thread; offering never blocks this loop for a live source.
        result = Result(item.frame, outputs, stages, number, self.dropped, match, objects)
        for sink in self.sinks:
            sink.offer(result)
        return result

    def _second(self, frame: Frame, contract: Contract) -> NDArray[Any]:
        """The second modality that the model needs: depth or near-infrared."""
        if contract.task == "sod":
            if frame.nir is not None and not frame.depth.any() and self._naming is None:
                self._warn_once("gives near-infrared and no depth: every pixel of the model's depth is a hole")
            return frame.depth
        if frame.nir is None:
            self._warn_once("gives no near-infrared picture: things are named from colour alone")
        return infrared(frame.rgb, frame.nir)

    def _warn_once(self, sentence: str) -> None:
        camera = self.capture.camera
        if camera is not None and (whole := f"{camera.name}: {sentence}") not in camera.warnings:
            camera.warnings.append(whole)

    @property
    def dropped(self) -> int:
        """Frames that arrived and were replaced by newer ones before the model was free."""
        return self.capture.mailbox.dropped if self.capture.mailbox is not None else 0

    @property
    def state(self) -> str:
        """ "stopped", "finished", or the capture's state in a few words."""
        if self.capture.ended and not self._flight:
            return "finished"
        if self._finished and not self.capture.error:
            return "stopped" if self._stop.is_set() else "finished"
        # A reader that is done says "finished" while its last frames still wait for the model.
        return "running" if self.capture.state == "finished" else self.capture.state

    def snapshot(self, whole: bool = False) -> dict[str, Any]:
        """Plain JSON types: the state, counts, and latency over the last seconds, or over the run (``whole``)."""
        camera, contract = self.capture.camera, self.session.contract if self.session is not None else None
        # Rates and percentiles of the last seconds: what the page shows must react when a camera slows down.
        numbers = self.telemetry.summary(None if whole else time.monotonic())
        return {
            "state": self.state,
            "error": self.capture.error,
            "source": camera.name if camera is not None else "",
            "live": camera.live if camera is not None else None,
            "paused": self.capture.paused,
            "seekable": self.capture.seekable,
            "rate": self.capture.rate,
            "model": f"{contract.model} {contract.precision}" if contract is not None else "none",
            "captured": self.capture.captured,
            "processed": self.telemetry.frames,
            "dropped": self.dropped,
            "skipped_by_camera": self.capture.skipped,
            "reconnects": self.capture.reconnects,
            "warnings": list(camera.warnings) if camera is not None else [],
            "sinks": {runner.sink.name: runner.snapshot() for runner in self.sinks},
            **numbers,
        }
