"""Run one pipeline per source with one model, one page and the other outlets, up to the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from mutualformer.runtime.preprocess import Runner
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.grammar import shown
from mutualformer.runtime.streaming.console import print_json, reporting
from mutualformer.runtime.streaming.gallery import Gallery
from mutualformer.runtime.streaming.naming import Naming
from mutualformer.runtime.streaming.outlets import Outlets, connect
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.playlist import LiveSource, SharedSession
from mutualformer.runtime.streaming.playlist import StreamError as StreamError
from mutualformer.runtime.streaming.stdout import json_stream
from mutualformer.runtime.untrusted.printable import printable


def stream(
    source: str | Sequence[str],
    session: Runner | None = None,
    *,
    gallery: Path | None = None,
    finder: Runner | None = None,
    frames: int | None = None,
    track: bool = True,
    **fields: Any,
) -> tuple[dict[str, Any], int]:
    """Run one source or several through ``session`` until they end; returns the summary and the signal that ended the
    run, or 0.

    Several sources share the model, the page and the rerun recording; the summary then has ``sources``, one summary
    each. With ``outlets.preview`` the page stays after the last frame, until a signal, unless ``frames`` is given.
    ``frames``: stop each source after this many. ``gallery``: identities for a reid model, which names the objects that
    ``finder``, a sod model, finds; the whole frame without one, and with a gallery of whole frames. ``track``: as in
    Pipeline.
    ``fields``: those of :class:`Outlets`, where results go. Raises InputError, CameraError, ServeError. Where one of
    several sources fails, the others run to their end first.
    """
    outlets = Outlets(**fields)
    uris = [source] if isinstance(source, str) else list(source)
    match = known = None
    if gallery is not None:
        if session is None:
            raise StreamError("--gallery needs --model with a reid model")
        known = Gallery.open(gallery, session)
        # Without a finder there are no boxes to cut out, and features of whole frames compare only with whole frames.
        if known.whole or finder is None:
            match = known.match
    # A session may be called by one thread at a time, and every source has a thread: they take turns.
    if session is not None and len(uris) > 1:
        session = SharedSession(session)
        finder = SharedSession(finder) if finder is not None else None

    sources = []
    for number, uri in enumerate(uris, start=1):
        naming = None
        seen_by = session
        if session is not None and known is not None and match is None:
            # The sod model sees the frame, and the reid model in ``session`` only what was cut out of it.
            naming, seen_by = Naming(session, known), finder
        how: dict[str, Any] = {"frames": frames, "match": match, "naming": naming, "track": track}
        label = f"camera{number}" if len(uris) > 1 else ""
        sources.append(LiveSource(shown(uri), Pipeline(partial(opening.camera, uri), seen_by, **how), label))
    with contextlib.ExitStack() as stack:
        # Camera SDKs print to standard output too; their text must not mix with our lines.
        out = stack.enter_context(json_stream()) if outlets.as_json else sys.stdout
        connect(sources, outlets, out, stack)
        signals = stack.enter_context(_signals(sources))
        events = (lambda line: print_json(line, out)) if outlets.as_json else None
        many = len(sources) > 1
        live_line = not (outlets.quiet or outlets.as_json or many) and sys.stderr.isatty()
        for one in sources:
            stack.enter_context(reporting(one.pipeline.snapshot, events, live_line, one.uri if many else ""))
        stays = outlets.preview is not None and frames is None
        # A source that stays can be sought again from the page. Its recording would then stay open and hold frames
        # twice, so with --record it ends like any other source.
        for one in sources:
            one.pipeline.capture.stays = stays and outlets.record is None
        _run(sources, stays and not outlets.quiet, signals)
        # A signal that comes after the last frame only closes the page: everything asked for was done.
        over = all(not source.error and source.summary["state"] == "finished" for source in sources)
        ended_by = signals[0] if signals and not over else 0
        while stays and over and not signals:
            time.sleep(0.2)
    return _conclusion(sources, ended_by)


def _run(sources: list[LiveSource], tell: bool, signals: list[int]) -> None:
    """Run every source on a thread of its own until the last has ended. ``tell``: print when they stay at their end."""
    threads = [threading.Thread(target=source.run, name=f"source-{source.uri}") for source in sources]
    for thread in threads:
        thread.start()
    running = True
    while running:
        running = any(thread.is_alive() for thread in threads)
        # A source that failed makes the exit code 1 at once: the others must not wait for a viewer at their end.
        if any(source.error for source in sources):
            for source in sources:
                source.pipeline.capture.stays = False
        elif tell and not signals and all(source.pipeline.state == "finished" for source in sources):
            print("preview: the source has ended; the page stays until Ctrl-C", file=sys.stderr, flush=True)
            tell = False
        if running:  # in small steps, so that this thread can handle signals
            time.sleep(0.1)


def _conclusion(sources: list[LiveSource], number: int) -> tuple[dict[str, Any], int]:
    """The summary and the signal. Raises the first error: of a source, or of an output that is incomplete."""
    for source in sources:
        if source.error is not None:
            if len(sources) > 1 and isinstance(source.error, (ValueError, RuntimeError, OSError)):
                raise StreamError(f"{source.uri}: {source.error}") from source.error
            raise source.error
        if problem := undone(source.summary):
            raise StreamError(problem)
    if len(sources) == 1:
        return sources[0].summary, number
    # One source that was stopped means that the run was, even if the others reached their end.
    states = {str(source.summary["state"]) for source in sources}
    state = states.pop() if len(states) == 1 else "stopped" if "stopped" in states else "finished"
    return {"state": state, "sources": [source.summary for source in sources]}, number


def undone(summary: dict[str, Any]) -> str:
    """Which requested output is incomplete, in one sentence; empty where none is.

    A recording and the lines of ``--json`` must hold every frame; a live view may skip some, and the reader of the
    lines may close the pipe.
    """
    for name, sink in summary["sinks"].items():
        if sink.get("problem"):
            return printable(str(sink["problem"]))
        if sink["state"] in ("failed", "stalled") and not (name == "json" and "Broken pipe" in sink["error"]):
            return printable(f"{name}: {sink['error'] or sink['state']}")
        # A recorder that only the page's button may start drops every frame until then; that is no loss.
        if name == "recorder" and sink["dropped"] and (sink.get("recording") or sink.get("frames")):
            return f"recorder: {sink['dropped']} of {sink['dropped'] + sink['delivered']} frames are missing: too slow"
    return ""


@contextlib.contextmanager
def _signals(sources: list[LiveSource]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the stream in order; a second one ends the process on the spot."""
    signals: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        # The first signal may wait for a driver or a disk that never answers. Whoever asks a second time wants the
        # shell back, so nothing is flushed or joined here.
        if signals:
            os._exit(128 + number)
        signals.append(number)
        for source in sources:
            source.pipeline.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
