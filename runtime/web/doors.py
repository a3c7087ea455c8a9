"""Connections of a web server: how many, from whom, and how long one may take to say what it wants.

aiohttp serves whoever connects for as long as they stay. Here every connection is counted from the moment it is
accepted, before TLS and before its first byte; one that has not sent a complete request within ten seconds is closed,
and where there are too many the oldest that has no right to stay makes room for the newcomer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from mutualformer.runtime.web.visitors import network


@dataclass(frozen=True)
class Limits:
    """``total`` and ``per_address`` connections at once; ``request_s``: seconds to a complete request."""

    total: int = 128
    per_address: int = 64
    request_s: float = 10.0


class Door(asyncio.Protocol):
    """One connection: passes everything on to ``inner``, aiohttp's protocol, and watches the clock meanwhile.

    ``admitted``: a request of a visitor who may see the page is being answered; such a door is never closed for
    somebody else.
    """

    def __init__(self, doors: Doors, visitor: str, sock: socket.socket) -> None:
        self.visitor, self.admitted = visitor, False
        self._doors = doors
        self.sock = sock
        self.welcome: asyncio.Task[None] | None = None
        self.inner: Any = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.request_over()

    def request_complete(self) -> None:
        """The whole request has arrived; its answer may take as long as it likes."""
        if self._deadline is not None:
            self._deadline.cancel()

    def request_over(self) -> None:
        """The answer is out; the clock runs for the next request."""
        self.admitted = False
        self.request_complete()
        self._deadline = asyncio.get_running_loop().call_later(self._doors.limits.request_s, self.shut)

    def shut(self) -> None:
        """Close at once, whatever is still under way."""
        self.request_complete()
        self._doors.forget(self)
        if self._transport is not None:
            self._transport.abort()
        elif self.welcome is not None:  # still in its TLS handshake
            self.welcome.cancel()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio.Protocol's: only now, after TLS, aiohttp's protocol is made."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.inner = transport, self._doors.protocol()
        self._doors.by_inner[self.inner] = self
        self.inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio.Protocol's; the door is forgotten and no longer counts."""
        self.request_complete()
        self._doors.forget(self)
        if self.inner is not None:
            self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As asyncio.Protocol's; ``data`` goes to aiohttp as it is."""
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """As asyncio.Protocol's; aiohttp decides whether the transport stays open."""
        return bool(self.inner.eof_received())

    def pause_writing(self) -> None:
        """As asyncio.Protocol's."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """As asyncio.Protocol's."""
        self.inner.resume_writing()


class Doors:
    """Listens, accepts, counts. ``protocol``: makes aiohttp's protocol for a connection. ``say``: for the log."""

    def __init__(
        self,
        protocol: Callable[[], Any],
        say: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.protocol, self.limits = protocol, limits or Limits()
        self.by_inner: dict[Any, Door] = {}
        self._say, self._tls = say, tls
        self._open: dict[Door, None] = {}  # in the order they came
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int) -> int:
        """Listen on every address of ``host``; port 0 takes a free one. Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(infos):
                listener = socket.socket(family, socket.SOCK_STREAM)
                self._listeners.append(listener)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((address[0], port, *address[2:]))
                listener.listen(128)
                listener.setblocking(False)
                port = int(listener.getsockname()[1])
        except OSError:
            self._close_listeners()
            raise
        for listener in self._listeners:
            self._spawn(self._accept(listener))
        return port

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or the visitor left already
                self._say(f"a connection could not be accepted ({error.strerror or error})")
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            visitor = network(str(peer[0]))
            if not self._make_room(visitor):
                sock.close()
                continue
            door = Door(self, visitor, sock)
            self._open[door] = None
            door.welcome = self._spawn(self._welcome(door))
            door.welcome.add_done_callback(partial(self._turned_away, door))

    def _make_room(self, visitor: str) -> bool:
        """Where there are too many, close the oldest that was not admitted; False where all of them were."""
        neighbours = [door for door in self._open if door.visitor == visitor]
        for crowd, most, who in (
            (neighbours, self.limits.per_address, f"from {visitor}"),
            (list(self._open), self.limits.total, "in all"),
        ):
            if len(crowd) < most:
                continue
            self._say(f"{len(crowd)} connections {who}: the oldest without a complete request is closed")
            victim = next((door for door in crowd if not door.admitted), None)
            if victim is None:
                return False
            victim.shut()
        return True

    async def _welcome(self, door: Door) -> None:
        with suppress(OSError):
            door.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: door, door.sock, ssl=self._tls, ssl_handshake_timeout=self.limits.request_s if self._tls else None
        )

    def _turned_away(self, door: Door, task: asyncio.Task[None]) -> None:
        """A handshake that failed is nobody's news; its transport has closed the socket, if there was one."""
        if task.cancelled() or task.exception() is not None:
            door.request_complete()
            self.forget(door)
            if task.cancelled() and door.sock.fileno() >= 0:
                asyncio.get_running_loop().call_later(0.1, door.sock.close)

    def forget(self, door: Door) -> None:
        """The connection has ended."""
        self._open.pop(door, None)
        self.by_inner.pop(door.inner, None)

    def of(self, request: web.Request) -> Door | None:
        """The connection a request came through."""
        return self.by_inner.get(request.protocol)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def close(self) -> None:
        """Stop listening; connections that are open are aiohttp's to end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_listeners()

    def shut_all(self) -> None:
        """Close what is left."""
        for door in list(self._open):
            door.shut()


class RareLines(logging.Filter):
    """Lets ``most`` lines a minute through, one short line each, without the text of errors.

    What strangers send ends up in error messages: it may be megabytes, terminal escapes, or the token itself.
    """

    def __init__(self, most: int = 5, seconds: float = 60.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._since, self._count = float("-inf"), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten ``record`` in place to one line; False where this minute has had its lines."""
        now = time.monotonic()
        if now - self._since > self._seconds:
            self._since, self._count = now, 0
        self._count += 1
        if self._count > self._most:
            return False
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        text = str(record.msg).partition("\n")[0][:200] if record.name.endswith(".doors") else "a request failed"
        record.msg, record.args = f"{record.name.split('.')[1]}: {text}{f' ({kind})' if kind else ''}", None
        if self._count == self._most:
            record.msg += "; further lines of this minute are left out"
        record.exc_info = record.exc_text = record.stack_info = None
        return True
