"""The run behind ``mutualformer stream``: one pipeline per source, one model, one page, and the other outlets."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.runtime import cameras
from mutualformer.runtime.cameras import Camera
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preview.addresses import is_local, split_address
from mutualformer.runtime.preview.tokens import Token
from mutualformer.runtime.preview.tokens import token as token_of_run
from mutualformer.runtime.printable import printable
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.console import JsonLines, Reporter, print_json
from mutualformer.runtime.streaming.gallery import Gallery
from mutualformer.runtime.streaming.pipeline import Pipeline, Session
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner


class StreamError(ValueError):
    """The run cannot start or go on: one sentence."""


@dataclass(frozen=True)
class Outlets:
    """Where results go besides the return value.

    ``record``: folder to record into from the first frame. ``preview``, ``foxglove``: HOST:PORT; any host but this
    machine's needs a token: ``token_file``, ``MUTUALFORMER_TOKEN`` or ``token``, else one is made and printed once.
    ``tls``: certificate and key of both. ``rerun``: see :func:`rerun_sink.target`, None: not at all. ``as_json``: lines
    on standard output. ``quiet``: no status line and no addresses.
    """

    record: Path | None = None
    preview: str | None = None
    foxglove: str | None = None
    rerun: str | None = None
    token: str | None = None
    token_file: Path | None = None
    tls: tuple[Path, Path] | None = None
    as_json: bool = False
    quiet: bool = False

    def access(self) -> Token:
        """The token of this run. Raises AddressError."""
        addresses = {"--preview": self.preview, "--foxglove": self.foxglove}
        hosts = [split_address(text, option)[0] for option, text in addresses.items() if text is not None]
        needed = any(not is_local(host) for host in hosts)
        return token_of_run(needed, file=self.token_file, argument=self.token) if hosts else Token()


@dataclass
class Source:
    """One source of the run: its pipeline, its recorder where there is one, and the error that ended it."""

    uri: str
    pipeline: Pipeline
    recorder: Recorder | None = None
    error: Exception | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """On its own thread; the error is kept for the main thread."""
        try:
            self.summary = self.pipeline.run()
        except Exception as error:
            self.error = error
            self.summary = self.pipeline.snapshot(whole=True)


class SharedSession:
    """One model for several pipelines, one frame at a time: neither engines nor their buffers are shared safely."""

    def __init__(self, session: Session) -> None:
        self._session, self._turn = session, threading.Lock()

    @property
    def contract(self) -> Contract:
        return self._session.contract

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """As the session's own; the outputs are copies, since the next caller reuses its buffers."""
        with self._turn:
            return {name: np.array(value) for name, value in self._session.run(**inputs).items()}


def stream(
    source: str | Sequence[str],
    session: Session | None = None,
    *,
    gallery: Path | None = None,
    frames: int | None = None,
    retries: int = 30,
    outlets: Outlets | None = None,
    **more: Any,
) -> tuple[dict[str, Any], int]:
    """Run one source or several through ``session`` until they end; returns the summary and the signal that ended it,
    or 0.

    Several sources share the model, the page and the rerun recording; the summary then has ``sources``, one summary
    each. ``frames``: stop after so many of each. ``gallery``: identities for a reid model. ``outlets`` (or its
    fields as keywords): where results go. Raises StreamError, CameraError, InputError, GalleryError, AddressError,
    ServeError; of several sources the others go on to their end first.
    """
    outlets = outlets or Outlets(**more)
    uris = [source] if isinstance(source, str) else list(source)
    if not uris:
        raise StreamError("SOURCE is missing; --list shows what is connected")
    match = None
    if gallery is not None:
        if session is None:
            raise StreamError("--gallery needs --model with a reid model")
        match = Gallery.build(gallery, session).match
    if session is not None and len(uris) > 1:
        session = SharedSession(session)

    def opener(uri: str) -> Callable[[], Camera]:
        return lambda: cameras.open(uri)

    sources = [
        Source(uri, Pipeline(opener(uri), session, frames=frames, match=match, retry=Retry(attempts=retries)))
        for uri in uris
    ]
    with contextlib.ExitStack() as stack:
        _connect(sources, outlets, stack)
        caught = stack.enter_context(_signals(sources))
        reporters = _reporters(sources, outlets)
        for reporter in reporters:
            reporter.start()
        try:
            _run(sources)
        finally:
            for reporter in reporters:
                reporter.stop()
    return _conclusion(sources, caught[0] if caught else 0)


def _connect(sources: list[Source], outlets: Outlets, stack: contextlib.ExitStack) -> None:
    """Attach everything that was asked for to the pipelines; servers run until ``stack`` ends."""
    access = outlets.access()
    many = len(sources) > 1
    for index, source in enumerate(sources):
        sinks = source.pipeline.sinks
        if outlets.record is not None or outlets.preview is not None:
            model = source.pipeline.snapshot()["model"]
            folder = outlets.record or Path("recordings")
            if many:
                folder = folder / f"camera{index + 1}"
            source.recorder = Recorder(folder, on=outlets.record is not None, model=model)
            sinks.append(SinkRunner(source.recorder))
        if outlets.as_json:
            lines = JsonLines(sys.stdout, source.pipeline.stop, index if many else None)
            sinks.append(SinkRunner(lines, capacity=256))
    if outlets.rerun is not None:
        _rerun(sources, outlets.rerun, stack)
    links: list[tuple[str, str, str, str]] = []
    if outlets.preview is not None:
        links.append(_preview(sources, outlets, access, stack))
    if outlets.foxglove is not None:
        links.append(_foxglove(sources, outlets, access, stack))
    _announce(links, access, outlets)


def _rerun(sources: list[Source], text: str, stack: contextlib.ExitStack) -> None:
    _require("rerun", "--rerun", "rerun-sdk", "rerun")
    from mutualformer.runtime.streaming.rerun_sink import RerunSink, target

    first = RerunSink(to=target(text), prefix="camera1" if len(sources) > 1 else "")
    stack.callback(first.finish)
    if first.warning:
        print(f"warning: {first.warning}", file=sys.stderr, flush=True)
    for index, source in enumerate(sources):
        sink = first if index == 0 else first.sibling(f"camera{index + 1}")
        source.pipeline.sinks.append(SinkRunner(sink, latest=True))


def _preview(
    sources: list[Source], outlets: Outlets, access: Token, stack: contextlib.ExitStack
) -> tuple[str, str, str, str]:
    from mutualformer.runtime.preview.server import Preview

    assert outlets.preview is not None
    first = sources[0]
    page = Preview(outlets.preview, access.text, first.pipeline.snapshot, first.recorder, tls=outlets.tls)
    first.pipeline.sinks.append(SinkRunner(page, latest=True))
    for source in sources[1:]:
        channel = page.add(source.pipeline.snapshot, source.recorder)
        source.pipeline.sinks.append(SinkRunner(channel, latest=True))
    stack.enter_context(page)
    return "preview", page.lan_url, page.open_url, page.warning


def _foxglove(
    sources: list[Source], outlets: Outlets, access: Token, stack: contextlib.ExitStack
) -> tuple[str, str, str, str]:
    _require("foxglove", "--foxglove", "foxglove-sdk", "foxglove")
    from mutualformer.runtime.streaming.foxglove_sink import FoxgloveServer

    assert outlets.foxglove is not None
    server = stack.enter_context(FoxgloveServer(outlets.foxglove, access.text, outlets.tls))
    for index, source in enumerate(sources):
        sink = server.sink(f"/camera{index + 1}" if len(sources) > 1 else "")
        source.pipeline.sinks.append(SinkRunner(sink, latest=True))
    return "foxglove", server.url, server.open_url, server.warning


def _announce(links: list[tuple[str, str, str, str]], access: Token, outlets: Outlets) -> None:
    """Addresses on standard error. The token only where a person reads it: on a terminal, or once when it is new."""
    if access.warning:
        print(f"warning: {access.warning}", file=sys.stderr, flush=True)
    for warning in dict.fromkeys(warning for _, _, _, warning in links if warning):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    show = access.made or (access.text is not None and sys.stderr.isatty())
    for name, url, open_url, _ in links:
        if not outlets.quiet or access.made:
            print(f"{name}: {open_url if show else url}", file=sys.stderr, flush=True)


def _require(module: str, option: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise StreamError(f"{option} needs the package {package}: pip install 'mutualformer[{extra}]'")


def _reporters(sources: list[Source], outlets: Outlets) -> list[Reporter]:
    """One a source; the line that is rewritten in place only where there is one source."""
    events = (lambda line: print_json(line, sys.stdout)) if outlets.as_json else None
    live_line = not (outlets.quiet or outlets.as_json) and sys.stderr.isatty() and len(sources) == 1
    return [
        Reporter(source.pipeline.snapshot, events, live_line, source.uri if len(sources) > 1 else "")
        for source in sources
    ]


def _run(sources: list[Source]) -> None:
    """Until the last has ended. One source runs on this thread, where Ctrl-C arrives."""
    if len(sources) == 1:
        sources[0].run()
        return
    threads = [threading.Thread(target=source.run, name=f"source-{source.uri}") for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # in small steps, so that signals are handled
            thread.join(0.2)


def _conclusion(sources: list[Source], number: int) -> tuple[dict[str, Any], int]:
    """The summary. Raises the first error, of a source or of something that was asked for and not done."""
    for source in sources:
        if source.error is not None:
            if len(sources) > 1 and isinstance(source.error, (ValueError, RuntimeError, OSError)):
                raise StreamError(f"{source.uri}: {source.error}") from source.error
            raise source.error
    for source in sources:
        problem = undone(source.summary)
        if problem:
            raise StreamError(problem)
    if len(sources) == 1:
        return sources[0].summary, number
    return {"state": _state(sources), "sources": [source.summary for source in sources]}, number


def _state(sources: list[Source]) -> str:
    states = {str(source.summary["state"]) for source in sources}
    return states.pop() if len(states) == 1 else "stopped" if "stopped" in states else "finished"


def undone(summary: dict[str, Any]) -> str:
    """What was asked for and not done, in one sentence; empty where all was: then the exit code is 0.

    A recording or the lines of ``--json`` must hold every frame they were given; a live view may skip some, and a
    reader of the lines may leave.
    """
    for name, sink in summary["sinks"].items():
        if sink.get("problem"):
            return printable(str(sink["problem"]))
        if sink["state"] in ("failed", "stalled") and not (name == "json" and "Broken pipe" in sink["error"]):
            return printable(f"{name}: {sink['error'] or sink['state']}")
        if name == "recorder" and sink["dropped"] and (sink.get("recording") or sink.get("frames")):
            return f"recorder: {sink['dropped']} of {sink['dropped'] + sink['delivered']} frames are missing: too slow"
    return ""


@contextlib.contextmanager
def _signals(sources: list[Source]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the stream in order; a second one ends the process on the spot."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        for source in sources:
            source.pipeline.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
