"""A WebSocket relay with the page's access rule, in front of a server that has none of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from mutualformer.runtime.web.access import WRONG, hostname
from mutualformer.runtime.web.addresses import is_local, parse_address
from mutualformer.runtime.web.server_thread import ServerThread, tls_context
from mutualformer.runtime.web.visitors import Guesses, network, same

MOST_CLIENTS = 8
WRITE_SECONDS = 10.0
# Web pages that may connect: Foxglove's own. Programs send no Origin, the desktop application a file's.
ORIGINS = ("app.foxglove.dev", "studio.foxglove.dev", "embed.foxglove.dev")


class Relay:
    """``address``: HOST:PORT as for the page, with ``token`` unless HOST is this machine. ``upstream``: gives the port
    on this machine that is relayed. Raises AddressError, ServeError.
    """

    def __init__(
        self, address: str, token: str | None, upstream: Callable[[], int], tls: tuple[Path, Path] | None = None
    ) -> None:
        host, port = parse_address(address, token, "--foxglove")
        self._token, self._upstream = token, upstream
        self._guesses = Guesses()
        self._clients = 0
        context = tls_context(*tls) if tls is not None else None
        self._web = ServerThread("foxglove", host, port, self._application, tls=context)

    def start(self) -> None:
        """Returns when connections are accepted. Raises ServeError."""
        self._web.start()

    def stop(self) -> None:
        """Stop serving; open connections are closed."""
        self._web.stop()

    @property
    def port(self) -> int:
        """The port that is served, also where port 0 was asked for."""
        return self._web.port

    @property
    def _scheme(self) -> str:
        return "wss" if self._web.scheme == "https" else "ws"

    @property
    def url(self) -> str:
        """The address to open; the token is not in it."""
        return self._web.address(self._token, hidden=True, scheme=self._scheme)

    @property
    def open_url(self) -> str:
        """With the token: for a person's eyes, not for a log."""
        return self._web.address(self._token, scheme=self._scheme)

    @property
    def warning(self) -> str:
        """One sentence where the token crosses the network readable, else empty."""
        return self._web.warning

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=4096)
        app.router.add_get("/", self._relay)
        return app

    async def _admit(self, request: web.Request) -> None:
        """Raises HTTPBadRequest, HTTPUnauthorized, HTTPForbidden, HTTPServiceUnavailable."""
        host = hostname(request)
        if self._token is None:
            if not is_local(host):
                raise web.HTTPForbidden(text=f"host {host!r} is not this machine\n")
        else:
            scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
            guess = bearer if scheme == "Bearer" else request.query.get("token", "")
            visitor = network(request.remote or "")
            if guess:
                await self._guesses.turn(visitor)
            if not same(guess, self._token):
                if guess:
                    self._guesses.wrong(visitor)
                raise web.HTTPUnauthorized(text=f"{WRONG}: connect to ws://…/?token=YOUR_TOKEN\n")
            self._guesses.right(visitor)
        if not welcome_origin(request.headers.get("Origin")):
            raise web.HTTPForbidden(text="this web page may not connect\n")
        if self._clients >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_CLIENTS} viewers are connected already\n")

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        door = self._web.door(request)
        if door is not None:
            door.request_complete()
        try:
            await self._admit(request)
        except UnicodeError as error:
            raise web.HTTPBadRequest(text="the request is not text\n") from error
        if door is not None:
            door.admitted = True
        offered = [
            name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()
        ]
        self._clients += 1
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(
                    f"http://127.0.0.1:{self._upstream()}/", protocols=offered, max_msg_size=0, compress=0
                ) as inner,
            ):
                outer = web.WebSocketResponse(
                    protocols=[inner.protocol] if inner.protocol else (), heartbeat=10.0, compress=False
                )
                await outer.prepare(request)
                await self._pump(outer, inner)
                return outer
        except aiohttp.ClientError as error:
            raise web.HTTPBadGateway(text="the Foxglove server does not answer\n") from error
        finally:
            self._clients -= 1
            if door is not None:
                door.request_over()

    async def _pump(self, outer: Any, inner: Any) -> None:
        """Both ways, until either side or the stream ends."""
        ways = [
            asyncio.create_task(copy(outer, inner)),
            asyncio.create_task(copy(inner, outer)),
            asyncio.create_task(self._web.stopping.wait()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await outer.close()


async def copy(source: Any, target: Any) -> None:
    """Messages of one WebSocket into another; a target that takes nothing for ten seconds is gone."""
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await asyncio.wait_for(target.send_bytes(message.data), WRITE_SECONDS)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await asyncio.wait_for(target.send_str(message.data), WRITE_SECONDS)


def welcome_origin(origin: str | None) -> bool:
    """No web page but Foxglove's may read the camera through a visitor's browser; pages of this machine may."""
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "file" or host in ORIGINS or is_local(host)
