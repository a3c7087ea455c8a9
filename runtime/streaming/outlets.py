"""Where the results of a run go: recording, lines, page, Foxglove, rerun; and the addresses that are printed."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mutualformer.runtime.streaming.console import JsonLines
from mutualformer.runtime.streaming.playlist import LiveSource, StreamError
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner
from mutualformer.runtime.web.addresses import is_local, split_address
from mutualformer.runtime.web.tokens import Token
from mutualformer.runtime.web.tokens import token as token_of_run


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


def connect(sources: list[LiveSource], outlets: Outlets, out: TextIO, stack: contextlib.ExitStack) -> None:
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
            lines = JsonLines(out, source.pipeline.stop, index if many else None)
            sinks.append(SinkRunner(lines, capacity=256))
    if outlets.rerun is not None:
        _rerun(sources, outlets.rerun, stack)
    links: list[tuple[str, str, str, str]] = []
    if outlets.preview is not None:
        links.append(_preview(sources, outlets, access, stack))
    if outlets.foxglove is not None:
        links.append(_foxglove(sources, outlets, access, stack))
    _announce(links, access, outlets)


def _rerun(sources: list[LiveSource], text: str, stack: contextlib.ExitStack) -> None:
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
    sources: list[LiveSource], outlets: Outlets, access: Token, stack: contextlib.ExitStack
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
    sources: list[LiveSource], outlets: Outlets, access: Token, stack: contextlib.ExitStack
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
    show = access.new or (access.text is not None and sys.stderr.isatty())
    for name, url, open_url, _ in links:
        if not outlets.quiet or access.new:
            print(f"{name}: {open_url if show else url}", file=sys.stderr, flush=True)


def _require(module: str, option: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise StreamError(f"{option} needs the package {package}: pip install 'mutualformer[{extra}]'")
