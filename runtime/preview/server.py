"""The live page beside a stream: a sink for every camera, and the server that shows them.

Costs the stream nothing while nobody watches; a slow visitor gets fewer pictures and harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutualformer.runtime.preview.channel import Bundle, Channel
from mutualformer.runtime.preview.routes import MOST_VIEWERS, Routes
from mutualformer.runtime.sources.base import Camera
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result
from mutualformer.runtime.web.addresses import parse_address
from mutualformer.runtime.web.doors import Limits
from mutualformer.runtime.web.server_thread import ServeError, ServerThread, tls_context

__all__ = ["MOST_VIEWERS", "Preview", "PreviewError"]

PreviewError = ServeError


class Preview:
    """A sink and a web server; use it as a context manager around the stream.

    ``address``: HOST:PORT, port 0 takes a free one. ``snapshot``: gives the numbers to show. ``recorder``: what the
    record button switches. ``tls``: certificate and key in PEM. :meth:`add` gives the sinks of further cameras.
    Raises AddressError, PreviewError.
    """

    name = "preview"

    def __init__(
        self,
        address: str,
        token: str | None,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None = None,
        fps: float = 30.0,
        *,
        tls: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        host, port = parse_address(address, token)
        self._token, self._fps = token, fps
        self.channels: list[Channel] = []
        self._routes = Routes(self.channels, token)
        self._web = ServerThread(
            "preview",
            host,
            port,
            lambda: self._routes.application(self._web),
            tls=tls_context(*tls) if tls is not None else None,
            limits=limits,
        )
        self.add(snapshot, recorder)

    def add(self, snapshot: Callable[[], dict[str, Any]], recorder: Recorder | None = None) -> Channel:
        """The sink of one more camera on the same page; to be called before the page is served."""
        index = len(self.channels)
        channel = Channel(
            index, snapshot, recorder, self._fps, lambda: self._routes.watched, self._publish, self.details
        )
        self.channels.append(channel)
        return channel

    def _publish(self, index: int, bundle: Bundle) -> None:
        """From a sink's thread."""
        self._web.soon(lambda: self._routes.publish(index, bundle))

    # As a sink, on the sink's thread: the first camera's.

    def open(self, camera: Camera) -> None:
        """As Sink.open; the server has been running since ``__enter__``."""

    def write(self, result: Result) -> None:
        """Hand ``result`` to the first camera's channel."""
        self.channels[0].write(result)

    def close(self) -> None:
        """As Sink.close; the server goes on until ``__exit__``."""

    def details(self) -> dict[str, Any]:
        """For the summary; the address without the token, since it ends up in logs."""
        return {"url": self.url, "viewers": self._routes.viewers}

    # As a server.

    @property
    def url(self) -> str:
        """What to open; the token is not in it, since it ends up in logs."""
        return self._web.address(self._token, elsewhere=False, hidden=True)

    @property
    def lan_url(self) -> str:
        """What opens from other machines; without the token too."""
        return self._web.address(self._token, hidden=True)

    @property
    def open_url(self) -> str:
        """A link that opens from other machines, token and all: for a person's eyes or a QR code, not for a log."""
        return self._web.address(self._token)

    @property
    def warning(self) -> str:
        """One sentence where the token and the pictures travel readable for others, else empty."""
        return self._web.warning

    @property
    def port(self) -> int:
        """The port that is served, also where port 0 was asked for."""
        return self._web.port

    def __enter__(self) -> Preview:
        self._web.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._web.stop()
