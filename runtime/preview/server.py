"""The web server, in a thread of its own: pages and Foxglove are its routes, behind one check."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from mutualformer.errors import Error
from mutualformer.runtime.preview.addresses import Token, bracketed, is_local, parse_address, reachable
from mutualformer.runtime.preview.connections import Connections, Limits
from mutualformer.runtime.preview.middleware import Access, add_headers

LARGEST_BODY = 4096  # bytes of a request


class ServeError(Error, RuntimeError):
    """The address cannot be served: it is taken, not of this machine, or has no usable certificate."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For ``--tls CERT KEY``, both PEM. Raises ServeError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        sentence = f"--tls {certificate} {key}: expected a certificate and its key in PEM ({reason})"
        raise ServeError(sentence) from error
    return context


class Server:
    """Serves ``routes`` at ``address`` (HOST:PORT, port 0: a free one); a context manager.

    Add to ``routes`` before entering it. ``token``: None if only this machine reaches the address. ``option``: the
    command-line option of the address, for errors and hints. ``tls``: certificate and key in PEM. ``stopping`` is set
    when the server begins to stop; ``news`` is notified then, and whenever a route has something new. Both belong to
    the event loop. Raises AddressError, ServeError.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        option: str = "--preview",
        tls: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.host, self.port = parse_address(address, token, option)
        self.routes: list[web.RouteDef] = []
        self.stopping, self.news = asyncio.Event(), asyncio.Condition()
        self.connections = Connections(limits or Limits())
        self._token, self._option = token, option
        self._tls = tls_context(*tls) if tls is not None else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure = ""
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="preview", daemon=True)

    def url(self, path: str = "", *, secret: bool = False) -> str:
        """The page's link, as other machines open it if they can reach it; with a ``path``, that of a WebSocket.

        ``secret``: with the token, for a person; otherwise with ``…`` in its place, since links end up in logs.
        """
        scheme = ("ws" if path else "http") + ("s" if self._tls is not None else "")
        url = f"{scheme}://{bracketed(reachable(self.host))}:{self.port}/{path}"
        if self._token is None:
            return url
        return f"{url}?token={quote(self._token, safe='') if secret else '…'}"

    @property
    def hint(self) -> str:
        """How another machine reaches a page that only this machine can open; empty where the link is enough."""
        if not is_local(self.host):
            return ""
        here = f"{self.port}:{bracketed(self.host)}:{self.port}"
        return f"from another machine: ssh -L {here} {socket.gethostname()}, or {self._option} 0.0.0.0:{self.port}"

    @property
    def warning(self) -> str:
        """One sentence where others in the network can read the token and the pictures, else empty."""
        if is_local(self.host) or self._tls is not None:
            return ""
        return "without --tls CERT KEY the token and the pictures cross the network readable for anyone in it"

    def __enter__(self) -> Server:
        """Returns when connections are accepted. Raises ServeError."""
        self._thread.start()
        self._serving.wait(10)
        if self._failure or not self._serving.is_set():
            raise ServeError(
                f"{self._option} cannot listen on {self.host}:{self.port} ({self._failure or 'no answer'}); "
                "choose another port, or an address that this machine has"
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop in order: streams send their last message, connections that remain are cut."""
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                self._loop.call_soon_threadsafe(self.stopping.set)
        if self._thread.is_alive():
            self._thread.join(5)

    def soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work()`` in the event loop soon; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(work(), self._loop)

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error.strerror or str(error)
        finally:
            self._serving.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        log = logging.getLogger("mutualformer.preview")
        log.filters[:] = [once_a_kind()]
        self._loop.set_exception_handler(lambda _, context: log.error("%s", context.get("message", "")))
        access = Access(self._token, self.connections)
        app = web.Application(middlewares=[access.middleware], client_max_size=LARGEST_BODY)
        app.on_response_prepare.append(add_headers)
        app.add_routes(self.routes)
        # ``stopping`` ends the streams; connections that are still open half a second later are cut.
        runner = web.AppRunner(app, access_log=None, logger=log, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        try:
            for listener in self.connections.listen(self.host, self.port):
                self.port = int(listener.getsockname()[1])
                await web.SockSite(runner, listener, ssl_context=self._tls).start()
            self._serving.set()
            await self.stopping.wait()
            async with self.news:
                self.news.notify_all()
        finally:
            await runner.cleanup()
            for connection in self.connections.open.values():
                connection.shut()


def announce(links: list[tuple[str, Server, str]], access: Token, quiet: bool = False) -> None:
    """Print addresses to standard error. ``links``: what is there, its server, and its path on that server.

    The token is printed only where a person reads it: on a terminal, or once when it is new, also with ``quiet``.
    """
    lines = [f"warning: {text}" for text in (access.warning, *(server.warning for _, server, _ in links)) if text]
    secret = access.new or (access.text is not None and sys.stderr.isatty())
    if access.new or not quiet:
        lines += [f"{name}: {server.url(path, secret=secret)}" for name, server, path in links]
    if not quiet:
        lines += [server.hint for _, server, _ in links if server.hint]
    for line in dict.fromkeys(lines):
        print(line, file=sys.stderr, flush=True)


def once_a_kind() -> Callable[[logging.LogRecord], bool]:
    """A log filter: one line for each kind of error, without what the client sent.

    A request may hold megabytes, terminal escapes, or the token itself.
    """
    reported: set[str] = set()

    def rare(record: logging.LogRecord) -> bool:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else record.levelname.lower()
        record.msg, record.args = f"preview: a request failed ({kind}); more of this kind are not logged", None
        record.exc_info = record.exc_text = record.stack_info = None
        new = kind not in reported
        reported.add(kind)
        return new

    return rare
