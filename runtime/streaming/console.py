"""Terminal output of a stream: JSON lines for programs, one line rewritten in place for people."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from mutualformer.runtime.sources.base import BaseCamera
from mutualformer.runtime.streaming.sinks import Result
from mutualformer.runtime.untrusted.finite import finite_json
from mutualformer.runtime.untrusted.printable import printable

# States of the source that are not printed; a lost camera is reported by the error that ends the run.
ORDINARY = ("opening", "running", "finished", "stopped", "lost")
REWRITE = "\r\x1b[K"  # to the beginning of the terminal's line, which is erased
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

    def open(self, camera: BaseCamera) -> None:
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
    line = (
        f"{snapshot['state']}  {snapshot['fps']:.1f} fps  total {total['p50']:.1f}/{total['p95']:.1f} ms (p50/p95)  "
        f"model {infer['p50']:.1f} ms  dropped {snapshot['dropped']}  skew {snapshot['skew_ms']:.1f} ms"
    )
    for name, sink in snapshot["sinks"].items():
        if sink.get("recording"):
            line += f"  recording {sink['bytes'] / 1e6:.0f} MB"
        if sink["error"] or sink.get("problem"):
            line += f"  {name} {sink['state']}"
    return printable(line)


class Changes:
    """Prints every change of a pipeline's state once, from its snapshots.

    ``events``: called with each change as a JSON line's dict. ``lead``: in front of each line.
    """

    def __init__(self, events: Callable[[dict[str, Any]], None] | None, lead: str = "") -> None:
        self._events, self._lead = events, lead
        self._reported: dict[str, str] = {}

    def __call__(self, snapshot: dict[str, Any]) -> None:
        """Print what differs from the last snapshot. Raises OSError where the reader closed the pipe."""
        news = {"source": snapshot["state"]}
        news |= {f"warning {number}": text for number, text in enumerate(snapshot["warnings"])}
        news |= {name: sink["error"] or sink.get("problem") or "" for name, sink in snapshot["sinks"].items()}
        for key, text in news.items():
            if self._reported.get(key, "") == text:
                continue
            self._reported[key], subject = text, key.split()[0]
            if self._events is not None:
                self._events({"type": "state", "subject": subject, "state": text})
            if text and not (subject == "source" and text in ORDINARY):
                print(f"{self._lead}{subject}: {printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def reporting(
    snapshot: Callable[[], dict[str, Any]],
    events: Callable[[dict[str, Any]], None] | None,
    live_line: bool,
    label: str = "",
) -> Iterator[None]:
    """Meanwhile print :class:`Changes` from a thread of its own; the last ones at the end.

    ``live_line``: also rewrite one line on stderr four times a second. ``label``: the source's name in front of each
    line, where there are several.
    """
    changes = Changes(events, (REWRITE if live_line else "") + (f"{printable(label)}: " if label else ""))
    over = threading.Event()

    def run() -> None:
        last = False
        with contextlib.suppress(OSError):  # the reader closed the pipe
            while not last:
                last = over.wait(0.25)
                numbers = snapshot()
                changes(numbers)
                if live_line:
                    sys.stderr.write(REWRITE + status_line(numbers)[:160] + "\n" * last)
                    sys.stderr.flush()

    thread = threading.Thread(target=run, name="reporter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2)
