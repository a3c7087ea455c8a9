"""Connections of the server: a limit on their number, and a timeout for each request.

aiohttp waits for a request without limit. We therefore count connections at the listening socket, from the moment they
are accepted, before TLS and before the first byte. When a request is late, or room is needed for a new connection, we
shut the socket down, which asyncio and aiohttp take for the end of the connection.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Limits:
    """``total``: connections at once; one more replaces the oldest idle one. ``request_s``: seconds for a request."""

    total: int = 128
    request_s: float = 10.0


class Connection:
    """One accepted socket. ``busy``: a request of an authorised client is being answered."""

    def __init__(self, sock: socket.socket, request_s: float) -> None:
        self.sock, self.busy = sock, False
        self._request_s = request_s
        self._timeout: asyncio.TimerHandle | None = None
        self.wait()

    def wait(self, seconds: float | None = None) -> None:
        """The connection gets ``seconds`` from now, else ``request_s``, to send a complete request."""
        self.received()
        self.busy = False
        self._timeout = asyncio.get_running_loop().call_later(seconds or self._request_s, self.shut)

    def received(self) -> None:
        """Stop the timeout: the request is complete, and its answer may take any time."""
        if self._timeout is not None:
            self._timeout.cancel()

    def shut(self) -> None:
        """Shut down both ways; asyncio, which owns the socket, then closes it."""
        self.received()
        with suppress(OSError):  # closed already
            self.sock.shutdown(socket.SHUT_RDWR)


class Connections:
    """The open connections by the peer's address and port, oldest first. Use it in the event loop only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.open: dict[Any, Connection] = {}

    def of(self, request: web.Request) -> Connection | None:
        """The connection of ``request``; None if it has just ended."""
        return None if request.transport is None else self.open.get(request.transport.get_extra_info("peername"))

    def add(self, sock: socket.socket, peer: Any) -> None:
        """Count a new connection; if there are too many, shut the oldest that is not busy."""
        self.open = {key: one for key, one in self.open.items() if one.sock.fileno() >= 0}
        idle = next((key for key, one in self.open.items() if not one.busy), None)
        if len(self.open) >= self._limits.total and idle is not None:
            self.open.pop(idle).shut()
        self.open[peer] = Connection(sock, self._limits.request_s)

    def listen(self, host: str, port: int) -> list[Listener]:
        """One socket for every address of ``host``; port 0 takes a free one. Raises OSError."""
        listeners = []
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            listener = Listener(self, family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            port = listener.getsockname()[1]  # the same for the other addresses
            listeners.append(listener)
        return listeners


class Listener(socket.socket):
    """A listening socket that counts what it accepts."""

    def __init__(self, connections: Connections, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._connections = connections

    def accept(self) -> tuple[socket.socket, Any]:
        """As socket.accept, on which asyncio calls it."""
        sock, peer = super().accept()
        self._connections.add(sock, peer)
        return sock, peer
