"""The live page beside a stream: a sink for every camera, on a server that shows them.

Costs the stream nothing while nobody watches; a slow client gets fewer pictures and harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer.runtime.preview.channel import Bundle, Channel
from mutualformer.runtime.preview.connections import Limits
from mutualformer.runtime.preview.routes import Routes
from mutualformer.runtime.preview.server import Server

if TYPE_CHECKING:
    from mutualformer.runtime.sources.base import Camera
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import Result


class Preview:
    """A sink, and a server in ``server``; use it as a context manager around the stream.

    ``address``: HOST:PORT, port 0 takes a free one. ``snapshot``: gives the numbers to show. ``recorder``: what the
    record button switches. ``tls``: certificate and key in PEM. :meth:`add` gives the sinks of further cameras.
    Raises AddressError, ServeError.
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
        self.server = Server(address, token, tls=tls, limits=limits)
        self._fps = fps
        self.channels: list[Channel] = []
        self._routes = Routes(self.channels, self.server)
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
        self.server.soon(lambda: self._routes.publish(index, bundle))

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
        return {"url": self.server.url(), "viewers": self._routes.viewers}

    def __enter__(self) -> Preview:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()
