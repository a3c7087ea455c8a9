"""Streams live to Foxglove: a route of the page's server sends the messages of a recording over a WebSocket.

The protocol is public and small (github.com/foxglove/ws-protocol). In JSON texts the server advertises its channels and
the client subscribes to some of them. A binary message is the byte 1, the subscription (uint32), the time in ns
(uint64), all little-endian, and the payload.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from mutualformer.runtime.preview.addresses import is_local
from mutualformer.runtime.preview.middleware import RequestError
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.recording.frame_messages import Message, frame_messages, info_message
from mutualformer.runtime.sources.bags import ros_messages as ros
from mutualformer.runtime.untrusted.typed_json import Fields, parse_json

if TYPE_CHECKING:
    from mutualformer.runtime.sources.base import BaseCamera
    from mutualformer.runtime.streaming.sinks import Result

PATH = "foxglove"
PROTOCOLS = ("foxglove.sdk.v1", "foxglove.websocket.v1")  # the same messages under two names
# Foxglove's own web pages may connect. Programs send no Origin; the desktop application sends that of a file.
ORIGINS = ("app.foxglove.dev", "studio.foxglove.dev", "embed.foxglove.dev")
MESSAGE = struct.Struct("<BIQ")
MESSAGE_DATA = 1
ERROR = 2  # level of a status message
LARGEST_REQUEST = 1 << 16
LARGEST_NUMBER = (1 << 32) - 1
MOST_CLIENTS = 8
MOST_SUBSCRIPTIONS = 256
BACKLOG = 4  # frames of each camera that may wait for a slow client; beyond that it loses the oldest
WRITE_SECONDS = 30.0  # a client that reads nothing for this time is disconnected
HEARTBEAT_SECONDS = 60.0  # long, because a slow client answers a ping only after the frames before it

# The payloads of one frame: channel → bytes, and the time in ns.
Payloads = tuple[int, dict[int, bytes]]


class Client:
    """One connected viewer. ``subscriptions``: the client's numbers → channels. ``frames``: those still to be sent."""

    def __init__(self, socket: web.WebSocketResponse, backlog: int) -> None:
        self.socket = socket
        self.subscriptions: dict[int, int] = {}
        self.frames: deque[Payloads] = deque(maxlen=backlog)
        self.news = asyncio.Event()

    async def send(self, **message: Any) -> None:
        """A text message. Raises TimeoutError, ConnectionError."""
        await asyncio.wait_for(self.socket.send_str(json.dumps(message)), WRITE_SECONDS)

    async def send_frame(self, frame: Payloads) -> None:
        """Every payload that the client subscribes to. Raises TimeoutError, ConnectionError."""
        stamp, payloads = frame
        for subscription, channel in list(self.subscriptions.items()):
            if channel in payloads:
                data = MESSAGE.pack(MESSAGE_DATA, subscription, stamp) + payloads[channel]
                await asyncio.wait_for(self.socket.send_bytes(data), WRITE_SECONDS)

    def take(self, text: str, channels: int) -> None:
        """Obey a request of the client. ``channels``: the number of advertised channels. Raises RequestError."""
        request = Fields(parse_json(text, "the message", RequestError), "the message", RequestError)
        if request.text("op", one_of=("subscribe", "unsubscribe")) == "unsubscribe":
            for number in request.wholes("subscriptionIds", None, 0, LARGEST_NUMBER):
                self.subscriptions.pop(number, None)
            return
        for wish in request.objects("subscriptions"):
            fields = Fields(wish, "the subscription", RequestError)
            number = fields.whole("id", 0, LARGEST_NUMBER)
            if number in self.subscriptions or len(self.subscriptions) >= MOST_SUBSCRIPTIONS:
                raise RequestError(f"subscription {number} is there already, or one too many")
            self.subscriptions[number] = fields.whole("channelId", 1, channels)


class Foxglove:
    """The route on ``server``; :meth:`sink` gives the sink of one camera, before the server is entered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: list[Client] = []
        self._channels: list[dict[str, Any]] = []  # as advertised; their ids count from 1
        self._adding = threading.Lock()
        self._cameras = 0
        self._session = secrets.token_urlsafe(8)  # a client that reconnects sees whether this is still the same run
        server.routes.append(web.get("/" + PATH, self._connect))

    def url(self) -> str:
        """What to enter in Foxglove under "Open connection", without the token."""
        return self._server.url(PATH)

    def sink(self, prefix: str = "") -> FoxgloveSink:
        """``prefix``: in front of each topic, ``/camera1`` where there are several cameras."""
        self._cameras += 1
        return FoxgloveSink(self, prefix)

    # From the sinks' threads.

    def wanted(self, topics: dict[str, int]) -> set[int]:
        """Which of these channels (topic → number) somebody subscribes to."""
        subscribed = {channel for client in tuple(self._clients) for channel in tuple(client.subscriptions.values())}
        return subscribed & set(topics.values())

    def add(self, topic: str, kind: str) -> int:
        """The number of a new channel; clients learn of it with the next frame."""
        about = {"topic": topic, "encoding": "cdr", "schemaName": kind, "schemaEncoding": "ros2msg"}
        with self._adding:  # every camera has a thread
            number = len(self._channels) + 1
            self._channels.append({"id": number, **about, "schema": ros.SCHEMAS[kind]})
        return number

    def publish(self, frame: Payloads) -> None:
        """Hand a frame to every client; never waits for one."""
        self._server.soon(lambda: self._publish(frame))

    # In the event loop.

    async def _publish(self, frame: Payloads) -> None:
        for client in self._clients:
            client.frames.append(frame)
            client.news.set()

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if not allowed_origin(request.headers.get("Origin")):
            raise web.HTTPForbidden(text="this web page may not connect\n")
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_CLIENTS} clients are connected already\n")
        offered = {name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")}
        if not offered & set(PROTOCOLS):
            raise web.HTTPBadRequest(text=f"expected a WebSocket of {' or '.join(PROTOCOLS)}\n")
        socket = web.WebSocketResponse(
            protocols=PROTOCOLS, heartbeat=HEARTBEAT_SECONDS, compress=False, max_msg_size=LARGEST_REQUEST
        )
        client = Client(socket, BACKLOG * max(self._cameras, 1))
        self._clients.append(client)
        try:
            await socket.prepare(request)
            # The first to end (the client leaves, a timeout, the server stops) ends the connection.
            works = (self._receive(client), self._send(client), self._server.stopping.wait())
            tasks = [asyncio.ensure_future(work) for work in works]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(socket.close(), 1.0)
        finally:
            self._clients.remove(client)
        return socket

    async def _receive(self, client: Client) -> None:
        async for message in client.socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                client.take(message.data, len(self._channels))
            except RequestError as error:
                await client.send(op="status", level=ERROR, message=str(error))

    async def _send(self, client: Client) -> None:
        about = {"name": "mutualformer", "capabilities": [], "metadata": {}, "sessionId": self._session}
        await client.send(op="serverInfo", **about)
        advertised = 0
        while True:
            channels, advertised = self._channels[advertised:], len(self._channels)
            if channels:
                await client.send(op="advertise", channels=channels)
            while client.frames:
                await client.send_frame(client.frames.popleft())
            await client.news.wait()
            client.news.clear()


class FoxgloveSink:
    """Publishes each frame as :func:`frame_messages` gives it; makes no message that no client subscribes to."""

    name = "foxglove"

    def __init__(self, server: Foxglove, prefix: str) -> None:
        self._server, self._prefix = server, prefix
        self._channels: dict[str, int] = {}
        self._camera: BaseCamera | None = None

    def open(self, camera: BaseCamera) -> None:
        """As Sink.open; keeps the camera for its lens and depth scale."""
        self._camera = camera

    def write(self, result: Result) -> None:
        """Send the calibration, where there is one, and every message of the frame."""
        assert self._camera is not None
        wanted = self._server.wanted(self._channels)
        if self._channels and not wanted:
            return
        messages: list[Message] = list(frame_messages(result, self._camera.depth_scale, {}))
        if self._camera.intrinsics is not None:
            messages.insert(0, info_message(self._camera.intrinsics, result.frame.timestamp))
        payloads = {}
        for topic, kind, pieces in messages:
            if topic not in self._channels:
                self._channels[topic] = self._server.add(self._prefix + topic, kind)
            if self._channels[topic] in wanted:
                payloads[self._channels[topic]] = b"".join(pieces)
        self._server.publish((time.time_ns(), payloads))

    def close(self) -> None:
        """As Sink.close; the server goes on for the other cameras."""

    def details(self) -> dict[str, Any]:
        """``url``: what a viewer opens."""
        return {"url": self._server.url()}


def allowed_origin(origin: str | None) -> bool:
    """Only Foxglove's web pages and those of this machine may read the camera through somebody's browser."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "file" or host in ORIGINS or is_local(host)
