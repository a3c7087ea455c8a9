"""A reverse proxy that serves a page under a prefix, as ``location /cam1/ { proxy_pass http://…/; }`` does."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
from aiohttp import web

HOP = ("connection", "transfer-encoding", "content-length")


class Proxy:
    """A context manager. ``keep_host``: pass the visitor's Host on; else it names the upstream, as nginx does."""

    def __init__(self, upstream: int, prefix: str, *, keep_host: bool = False) -> None:
        self._upstream, self._prefix, self._keep = upstream, prefix, keep_host
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._port = 0
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._prefix}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = next(iter(runner.addresses))[1]
        self._ready.set()
        await self._over.wait()
        await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(self._prefix):
            return web.Response(status=404, text="no such location\n")
        upstream = f"127.0.0.1:{self._upstream}"
        headers = {key: value for key, value in request.headers.items() if key.lower() not in ("host", *HOP)}
        headers["Host"] = request.host if self._keep else upstream
        url = f"http://{upstream}/{request.raw_path[len(self._prefix) :]}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, url, headers=headers, data=await request.read(), allow_redirects=False
            ) as answer,
        ):
            kept = [(key, value) for key, value in answer.headers.items() if key.lower() not in HOP]
            response = web.StreamResponse(status=answer.status)
            response.headers.extend(kept)
            await response.prepare(request)
            async for block in answer.content.iter_any():
                await response.write(block)
            return response
