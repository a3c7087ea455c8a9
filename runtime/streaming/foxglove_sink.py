"""Streams live to Foxglove: the messages of a recording over its WebSocket protocol, with the page's token rule.

The SDK's server knows no token, so it listens on this machine only, at a port that nobody is told; in front of it
stands a relay that asks for the token, counts connections and refuses foreign web pages.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import foxglove

from mutualformer.runtime.recording.frame_messages import Message, frame_messages, info_message
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.sources.base import Camera
from mutualformer.runtime.streaming.sinks import Result
from mutualformer.runtime.web.relay import Relay

# Messages a slow viewer may be behind before it loses the oldest: about two seconds of one camera.
BACKLOG = 256


class FoxgloveServer:
    """The server; a context manager. ``address``: HOST:PORT of the relay, ``token`` as for the page.

    :meth:`sink` gives the sink of one camera. Raises AddressError, ServeError.
    """

    def __init__(self, address: str, token: str | None, tls: tuple[Path, Path] | None = None) -> None:
        self._context = foxglove.Context()
        self._server: Any = None
        self._relay = Relay(address, token, lambda: int(self._server.port), tls=tls)

    def __enter__(self) -> FoxgloveServer:
        self._server = foxglove.start_server(
            name="mutualformer", host="127.0.0.1", port=0, context=self._context, message_backlog_size=BACKLOG
        )
        try:
            self._relay.start()
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.stop()
        self._server.stop()

    @property
    def url(self) -> str:
        """What to enter in Foxglove under "Open connection"; the token is left out."""
        return self._relay.url

    @property
    def open_url(self) -> str:
        """The same with the token, for a person's eyes."""
        return self._relay.open_url

    @property
    def warning(self) -> str:
        """One sentence where the token crosses the network readable, else empty."""
        return self._relay.warning

    def sink(self, prefix: str = "") -> FoxgloveSink:
        """``prefix``: in front of each topic, ``/camera1`` where there are several cameras."""
        return FoxgloveSink(self._context, prefix, self.url)


class FoxgloveSink:
    """Publishes each frame as :func:`frame_messages` gives it; nothing is made while no viewer subscribes."""

    name = "foxglove"

    def __init__(self, context: Any, prefix: str, url: str) -> None:
        self._context, self._prefix, self._url = context, prefix, url
        self._channels: dict[str, Any] = {}
        self._camera: Camera | None = None

    def open(self, camera: Camera) -> None:
        """As Sink.open; keeps the camera for its lens and depth scale."""
        self._camera = camera

    def write(self, result: Result) -> None:
        """Send the calibration, where there is one, and every message of the frame."""
        assert self._camera is not None
        if self._channels and not any(channel.has_sinks() for channel in self._channels.values()):
            return
        now = time.time_ns()
        lens, stamp = self._camera.intrinsics, result.frame.timestamp
        if lens is not None:
            self._send(info_message(lens, stamp), now)
        for message in frame_messages(result, self._camera.depth_scale, {}):
            self._send(message, now)

    def _send(self, message: Message, now: int) -> None:
        topic, kind, pieces = message
        channel = self._channel(topic, kind)
        if channel.has_sinks():
            channel.log(b"".join(pieces), log_time=now)

    def _channel(self, topic: str, kind: str) -> Any:
        if topic not in self._channels:
            schema = foxglove.Schema(name=kind, encoding="ros2msg", data=ros.SCHEMAS[kind].encode())
            self._channels[topic] = foxglove.Channel(
                self._prefix + topic, schema=schema, message_encoding="cdr", context=self._context
            )
        return self._channels[topic]

    def close(self) -> None:
        """Close the channels; the server belongs to who made it."""
        for channel in self._channels.values():
            channel.close()

    def details(self) -> dict[str, Any]:
        """``url``: what a viewer opens."""
        return {"url": self._url}
