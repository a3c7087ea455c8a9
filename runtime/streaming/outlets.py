"""Connect the outputs of a run (recording, JSON lines, page, Foxglove, rerun) and print their addresses."""

from __future__ import annotations

import contextlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mutualformer.runtime.preview.addresses import AddressError, Token, is_local, split_address
from mutualformer.runtime.preview.addresses import token as token_of_run
from mutualformer.runtime.streaming.console import JsonLines
from mutualformer.runtime.streaming.playlist import LiveSource
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner

if TYPE_CHECKING:
    from mutualformer.runtime.preview.server import Server


@dataclass(frozen=True)
class Outlets:
    """Where results go besides the return value.

    ``record``: folder to record into from the first frame; ``compress`` and ``record_minutes`` hold for the page's
    record button too, see :class:`Recorder`. ``preview``, ``foxglove``: PORT or HOST:PORT; any host but
    this machine's needs a token: ``token_file``, ``MUTUALFORMER_TOKEN`` or ``token``, else a new one is printed once.
    An empty ``foxglove`` means the address of ``preview``. ``tls``: certificate and key of both. ``rerun``: see
    :func:`rerun_sink.target`, None: not at all. ``as_json``: lines on standard output. ``quiet``: no status line and no
    addresses.
    """

    record: Path | None = None
    compress: bool = False
    record_minutes: float | None = None
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
        if self.foxglove == "" and self.preview is None:
            raise AddressError("--foxglove without --preview needs its own address, for example 127.0.0.1:8765")
        addresses = {"--preview": self.preview, "--foxglove": self.foxglove or None}
        hosts = [split_address(text, option)[0] for option, text in addresses.items() if text is not None]
        needed = any(not is_local(host) for host in hosts)
        return token_of_run(needed, file=self.token_file, argument=self.token) if hosts else Token()


def connect(sources: list[LiveSource], outlets: Outlets, out: TextIO, stack: contextlib.ExitStack) -> None:
    """Attach the requested outputs to the pipelines; servers run until ``stack`` ends."""
    access = outlets.access()
    for index, source in enumerate(sources):
        sinks = source.pipeline.sinks
        if outlets.record is not None or outlets.preview is not None:
            model = source.pipeline.snapshot()["model"]
            folder = (outlets.record or Path("recordings")) / source.label
            on, most_s = outlets.record is not None, 60 * (outlets.record_minutes or math.inf)
            source.recorder = Recorder(folder, on=on, model=model, compress=outlets.compress, most_s=most_s)
            sinks.append(SinkRunner(source.recorder))
        if outlets.as_json:
            lines = JsonLines(out, source.pipeline.stop, index if source.label else None)
            sinks.append(SinkRunner(lines, capacity=256))
    if outlets.rerun is not None:
        _rerun(sources, outlets.rerun, stack)
    if outlets.preview is not None or outlets.foxglove is not None:
        _serve(sources, outlets, access, stack)


def _rerun(sources: list[LiveSource], text: str, stack: contextlib.ExitStack) -> None:
    from mutualformer.runtime.streaming.rerun_sink import RerunSink, target

    sink = RerunSink(target(text))
    stack.callback(sink.finish)
    if sink.warning:
        print(f"warning: {sink.warning}", file=sys.stderr, flush=True)
    for source in sources:
        source.pipeline.sinks.append(SinkRunner(sink.sibling(source.label), latest=True))


def _serve(sources: list[LiveSource], outlets: Outlets, access: Token, stack: contextlib.ExitStack) -> None:
    """Serve page and Foxglove, as routes of one server where they have the same address."""
    from mutualformer.runtime.preview.foxglove import PATH, Foxglove
    from mutualformer.runtime.preview.live_page import LivePage
    from mutualformer.runtime.preview.server import Server, announce

    links: list[tuple[str, Server, str]] = []
    server: Server | None = None
    if outlets.preview is not None:
        server = Server(outlets.preview, access.text, tls=outlets.tls)
        page = LivePage(server)
        for source in sources:
            channel = page.add(source.pipeline.snapshot, source.recorder, source.pipeline.capture.play)
            source.pipeline.sinks.append(SinkRunner(channel, latest=True))
        links.append(("preview", server, ""))
    if outlets.foxglove is not None:
        if server is None or outlets.foxglove not in ("", outlets.preview):
            server = Server(outlets.foxglove, access.text, option="--foxglove", tls=outlets.tls)
        foxglove = Foxglove(server)
        for source in sources:
            sink = foxglove.sink(source.label and f"/{source.label}")
            source.pipeline.sinks.append(SinkRunner(sink, latest=True))
        links.append(("foxglove", server, PATH))
    for server in dict.fromkeys(server for _, server, _ in links):
        stack.enter_context(server)
    announce(links, access, outlets.quiet)
