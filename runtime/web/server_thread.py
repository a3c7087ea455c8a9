"""A small web server in a thread of its own: its event loop, its capped connections, its quiet log."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from mutualformer.errors import Error
from mutualformer.runtime.web.addresses import is_local, link, reachable
from mutualformer.runtime.web.doors import Door, Doors, Limits, RareLines


class ServeError(Error, RuntimeError):
    """The address cannot be served: taken, not ours, or without a usable certificate."""


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


class ServerThread:
    """Serves ``app`` at ``host`` and ``port`` (0: a free one) until :meth:`stop`.

    ``app``: makes the application, called inside the event loop. ``name``: of the thread, and in sentences. Of use
    inside the loop only: ``stopping``, set when the end begins, and :meth:`door`.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        app: Callable[[], web.Application],
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name, self.host, self.port = name, host, port
        self.stopping: asyncio.Event
        self.news: asyncio.Condition
        self._app, self._tls, self._limits = app, tls, limits
        self._doors: Doors
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure = ""
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def scheme(self) -> str:
        """``https`` or ``http``."""
        return "https" if self._tls is not None else "http"

    def address(self, token: str | None, *, elsewhere: bool = True, hidden: bool = False, scheme: str = "") -> str:
        """The link to open. ``elsewhere``: from other machines. ``hidden``: ``…`` in place of the token, for logs."""
        host = reachable(self.host) if elsewhere else self.host
        url = link(host, self.port, None if hidden else token, scheme=scheme or self.scheme)
        return url + ("?token=…" if hidden and token else "")

    @property
    def warning(self) -> str:
        """One sentence where the token and the pictures travel readable for others, else empty."""
        if is_local(self.host) or self._tls is not None:
            return ""
        return "without --tls CERT KEY the token and the pictures cross the network readable for anyone in it"

    def start(self) -> None:
        """Returns when connections are accepted. Raises ServeError."""
        self._thread.start()
        self._serving.wait(10)
        if self._failure or not self._serving.is_set():
            raise ServeError(
                f"the {self.name} cannot listen on {self.host}:{self.port} ({self._failure or 'no answer'}); "
                "choose another port, or an address that this machine has"
            )

    def stop(self) -> None:
        """End in order: streams say their last word, whoever hangs on is cut off."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                loop.call_soon_threadsafe(self.stopping.set)
        if self._thread.is_alive():
            self._thread.join(5)

    def soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have the event loop do something; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)

    def door(self, request: web.Request) -> Door | None:
        """The connection a request came through."""
        return self._doors.of(request)

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error.strerror or str(error)
        finally:
            self._serving.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.stopping, self.news = asyncio.Event(), asyncio.Condition()
        log, door_log = _quiet(f"mutualformer.{self.name}"), _quiet(f"mutualformer.{self.name}.doors")
        self._loop.set_exception_handler(lambda _, context: log.error("%s", context.get("message", "")))
        # Streams are ended by ``stopping``; whoever still hangs on half a second later is cut off.
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=log,
            shutdown_timeout=0.5,
            handler_cancellation=True,
            keepalive_timeout=10.0,
        )
        await runner.setup()
        assert runner.server is not None
        self._doors = Doors(runner.server, door_log.warning, self._tls, self._limits)
        try:
            self.port = await self._doors.listen(self.host, self.port)
            self._serving.set()
            await self.stopping.wait()
            async with self.news:
                self.news.notify_all()
        finally:
            await self._doors.close()
            await runner.cleanup()
            self._doors.shut_all()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _quiet(name: str) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.filters[:] = [RareLines()]  # counted anew for this run
    return logger


def json_object(value: Any) -> dict[str, Any]:
    """``value`` where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
