"""Terminal output of a stream: JSON lines for programs, one line rewritten in place for people."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from mutualformer.runtime.sources.base import Camera
from mutualformer.runtime.streaming.sinks import Result
from mutualformer.runtime.untrusted.finite import finite_json
from mutualformer.runtime.untrusted.printable import printable

# States of the source that are not printed; a lost camera is reported by the error that ends the run.
ORDINARY = ("opening", "running", "finished", "stopped", "lost")
# Two threads print frames and changes of state; this lock keeps lines whole.
_printing = threading.Lock()


class JsonLines:
    """A sink that prints one JSON object per frame. When the reader closes the pipe (``| head``), the stream ends.

    ``camera``: the camera's number, written into each line; None where there is only one.
    """

    name = "json"

    def __init__(self, stream: TextIO, stop: Callable[[], None], camera: int | None = None) -> None:
        self._stream, self._stop = stream, stop
        self._which = {} if camera is None else {"camera": camera}

    def open(self, camera: Camera) -> None:
        """As Sink.open; there is nothing to open."""

    def write(self, result: Result) -> None:
        """Print one line, flushed. Raises BrokenPipeError, after asking the stream to end."""
        try:
            print_json({**result.to_json(), **self._which}, self._stream)
        except BrokenPipeError:
            self._stop()
            raise

    def close(self) -> None:
        """As Sink.close; ``stream`` stays open."""


def print_json(line: dict[str, Any], stream: TextIO) -> None:
    """Print one line. Numbers that are not finite become null, since JSON has none."""
    with _printing:
        stream.write(finite_json(line) + "\n")
        stream.flush()


def status_line(snapshot: dict[str, Any]) -> str:
    """``running  29.8 fps  total 12.3/15.1 ms (p50/p95)  model 9.0 ms  dropped 3  skew 0.1 ms  recording 12 MB``."""
    total, infer = snapshot["latency_ms"]["total"], snapshot["latency_ms"]["infer"]
    parts = [
        snapshot["state"],
        f"{snapshot['fps']:.1f} fps",
        f"total {total['p50']:.1f}/{total['p95']:.1f} ms (p50/p95)",
        f"model {infer['p50']:.1f} ms",
        f"dropped {snapshot['dropped']}",
        f"skew {snapshot['skew_ms']:.1f} ms",
    ]
    for name, sink in snapshot["sinks"].items():
        if sink.get("recording"):
            parts.append(f"recording {sink['bytes'] / 1e6:.0f} MB")
        if sink["error"] or sink.get("problem"):
            parts.append(f"{name} {sink['state']}")
    return printable("  ".join(parts))


class Reporter:
    """A thread that prints every change of a pipeline's state once, and a status line four times per second.

    ``events``: called with each change as a JSON line's dict. ``live_line``: rewrite one line on stderr.
    ``label``: the source's name in front of each line, where there are several.
    """

    def __init__(
        self,
        snapshot: Callable[[], dict[str, Any]],
        events: Callable[[dict[str, Any]], None] | None,
        live_line: bool,
        label: str = "",
    ) -> None:
        self._snapshot, self._events, self._live_line = snapshot, events, live_line
        self._label = f"{printable(label)}: " if label else ""
        self._reported: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Start the thread that watches; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Print the last state; the status line stays."""
        self._over.set()
        self._thread.join(2)

    def _run(self) -> None:
        while True:
            over = self._over.wait(0.25)
            try:
                snapshot = self._snapshot()
                self._changes(snapshot)
                if self._live_line:
                    sys.stderr.write("\r\x1b[K" + status_line(snapshot)[:160] + ("\n" if over else ""))
                    sys.stderr.flush()
            except (BrokenPipeError, OSError):
                return  # the reader closed the pipe
            if over:
                return

    def _changes(self, snapshot: dict[str, Any]) -> None:
        state = snapshot["state"]
        news: list[tuple[str, str]] = [("source", state)]
        news += [(f"warning {number}", text) for number, text in enumerate(snapshot["warnings"])]
        for name, sink in snapshot["sinks"].items():
            news.append((name, sink["error"] or sink.get("problem") or ""))
        for subject, text in news:
            if self._reported.get(subject, "") == text:
                continue
            self._reported[subject] = text
            if self._events is not None:
                self._events({"type": "state", "subject": subject.split()[0], "state": text})
            if text and not (subject == "source" and text in ORDINARY):
                lead = "\r\x1b[K" if self._live_line else ""
                line = f"{lead}{self._label}{subject.split()[0]}: {printable(text)}"
                print(line, file=sys.stderr, flush=True)
