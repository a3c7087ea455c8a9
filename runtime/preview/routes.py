"""What the page asks for, request by request: pictures, numbers, the paused moment, snapshots, the record switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiohttp import web

from mutualformer.runtime.images.colours import PALETTE
from mutualformer.runtime.preview.channel import BOUNDARY, Bundle, Channel, distance_at, parts
from mutualformer.runtime.preview.holds import Holds
from mutualformer.runtime.preview.middleware import body, file
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.preview.snapshot import snapshot_name, snapshot_zip
from mutualformer.runtime.untrusted.finite import finite_json

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result

# Open streams of each kind, pictures and numbers: a page has one of either.
MOST_VIEWERS = 8
METRICS_SECONDS = 0.25
# A client that takes nothing for so long is gone: phones vanish without closing their connection.
WRITE_SECONDS = 10.0
BLOCK = 1 << 16
# How long a new client waits for a frame before the last one is shown.
STILL_SECONDS = 1.0

SCRIPT, STYLE = "text/javascript", "text/css"
# The page's own files; all addresses in them are relative, for proxies with a prefix.
FILES = {
    "/": ("page.html", "text/html"),
    "/style.css": ("style.css", STYLE),
    **{f"/{name}.js": (f"{name}.js", SCRIPT) for name in ("app", "multipart", "pictures", "panel", "charts", "words")},
    "/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", SCRIPT),
    "/uPlot.min.css": ("vendor/uPlot.min.css", STYLE),
}


class Routes:
    """The page's requests. ``channels``: its cameras, in order. Everything runs in the event loop of ``server``."""

    def __init__(self, channels: list[Channel], server: Server) -> None:
        self.channels, self._server = channels, server
        self._watching = {"pictures": 0, "numbers": 0}
        self._holds = Holds()
        server.routes += [
            *(web.get(path, self._file) for path in FILES),
            web.get("/palette.json", self._palette),
            web.get("/frames", self._frames),
            web.get("/mjpeg/{view:rgb|depth|nir|saliency}", self._frames),
            web.get("/events", self._events),
            web.get("/snapshot.zip", self._download),
            web.get("/depth", self._depth),
            web.post("/hold", self._hold),
            web.post("/release", self._release),
            web.post("/record", self._record),
        ]

    @property
    def viewers(self) -> int:
        """Open pages: each holds a stream of pictures and one of numbers."""
        return max(self._watching.values())

    @property
    def watched(self) -> bool:
        """Somebody looks at the pictures."""
        return self._watching["pictures"] > 0

    async def publish(self, index: int, bundle: Bundle) -> None:
        """A camera's newest pictures."""
        async with self._server.news:
            self.channels[index].bundle = bundle
            self._server.news.notify_all()

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path]
        response = file(name, kind)
        if name == "page.html" and isinstance(response.body, bytes):
            response.body = response.body.replace(b"{{cameras}}", str(len(self.channels)).encode())
        return response

    async def _palette(self, request: web.Request) -> web.Response:
        """The depth colours, far to near, as 256 × [red, green, blue]."""
        return web.json_response(PALETTE.tolist())

    @asynccontextmanager
    async def _watcher(self, kind: str) -> AsyncIterator[None]:
        """Counts an open stream. Raises HTTPServiceUnavailable where there are too many of its kind."""
        if self._watching[kind] >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} clients are watching already\n")
        self._watching[kind] += 1
        try:
            yield
        except (ConnectionError, asyncio.TimeoutError):
            pass  # the client left
        finally:
            self._watching[kind] -= 1

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        """Endless multipart JPEG: one view for ``/mjpeg/VIEW``, all views of each frame in turn for the page."""
        only = request.match_info.get("view")
        indices = [self._camera(request)] if only or "camera" in request.query else list(range(len(self.channels)))
        response = self._multipart()
        async with self._watcher("pictures"):
            await response.prepare(request)
            last = dict.fromkeys(indices, -1)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._next(last), STILL_SECONDS)
            await self._catch_up()
            while (bundles := await self._next(last)) is not None:
                for index, bundle in bundles.items():
                    last[index] = bundle.number
                    data = parts(index, bundle, only)
                    await asyncio.wait_for(response.write(data), WRITE_SECONDS)
        return response

    async def _catch_up(self) -> None:
        """For a client that comes when no frame does (ended, lost, very slow): the last one, which nobody saw."""
        loop = asyncio.get_running_loop()
        for channel in self.channels:
            latest, bundle = channel.latest, channel.bundle
            if latest is not None and (bundle is None or bundle.number != latest.number):
                pictures = await loop.run_in_executor(None, channel.pictures, latest)
                if channel.bundle is bundle:
                    await self.publish(channel.index, pictures)

    @staticmethod
    def _multipart(**headers: str) -> web.StreamResponse:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return web.StreamResponse(headers={"Content-Type": kind, "X-Accel-Buffering": "no", **headers})

    async def _next(self, last: dict[int, int]) -> dict[int, Bundle] | None:
        """The newest bundles that are not ``last``, camera by camera; None when the server stops."""
        stopping = self._server.stopping

        def news() -> dict[int, Bundle]:
            newest = {index: self.channels[index].bundle for index in last}
            return {i: bundle for i, bundle in newest.items() if bundle is not None and bundle.number != last[i]}

        async with self._server.news:
            await self._server.news.wait_for(lambda: stopping.is_set() or news())
        return None if stopping.is_set() else news()

    def _camera(self, request: web.Request) -> int:
        """``?camera=K``. Raises HTTPNotFound for one this page does not have."""
        number = request.query.get("camera", "0")
        if not (number.isascii() and number.isdigit() and len(number) < 4 and int(number) < len(self.channels)):
            raise web.HTTPNotFound(text=f"there is no such camera; this page has {len(self.channels)}\n")
        return int(number)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the numbers of each camera four times a second, once more when the stream has ended."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        async with self._watcher("numbers"):
            await response.prepare(request)
            over = False
            while not over:
                over = self._server.stopping.is_set()
                lines = [finite_json({**channel.news(), "camera": channel.index}) for channel in self.channels]
                data = "".join(f"retry: 1000\ndata: {line}\n\n" for line in lines)
                await asyncio.wait_for(response.write(data.encode()), WRITE_SECONDS)
                if not over:
                    await self._server.pause(METRICS_SECONDS)
        return response

    async def _record(self, request: web.Request) -> web.Response:
        """All cameras at once: what belongs together is recorded together."""
        recorders = [channel.recorder for channel in self.channels if channel.recorder is not None]
        if not recorders:
            raise web.HTTPConflict(text="this stream has no recorder\n")
        on = (await body(request)).flag("on")
        for recorder in recorders:
            recorder.switch(on)
        return web.json_response({"recording": all(recorder.recording for recorder in recorders)})

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        """Keep the newest frame of every camera for a paused page, and send exactly that: the page shows it, numbers
        and snapshots are of it. ``X-Hold`` names it for ``/snapshot.zip``, ``/depth`` and ``/release``."""
        results = {channel.index: channel.latest for channel in self.channels if channel.latest is not None}
        if not results:
            raise web.HTTPNotFound(text="no frame yet\n")
        name = self._holds.keep(results)
        loop = asyncio.get_running_loop()
        pictures = [
            parts(index, await loop.run_in_executor(None, self.channels[index].pictures, result))
            for index, result in results.items()
        ]
        response = self._multipart(**{"X-Hold": name})
        await response.prepare(request)
        await asyncio.wait_for(response.write(b"".join(pictures)), WRITE_SECONDS)
        return response

    async def _release(self, request: web.Request) -> web.Response:
        self._holds.release((await body(request)).text("hold", ""))
        return web.Response(status=204)

    def _shown(self, request: web.Request) -> Result:
        """The result a request means: the held one of ``?hold=``, else the newest. Raises HTTPNotFound, HTTPGone."""
        camera = self._camera(request)
        if "hold" in request.query:
            result = self._holds.get(request.query["hold"], camera)
            if result is None:
                raise web.HTTPGone(text="the paused picture was given up; resume and pause again\n")
            return result
        latest = self.channels[camera].latest
        if latest is None:
            raise web.HTTPNotFound(text="no frame yet\n")
        return latest

    async def _depth(self, request: web.Request) -> web.Response:
        """``?x=&y=`` as fractions of the picture → ``{"distance_m": metres or null, "number": N}``."""
        try:
            x, y = float(request.query["x"]), float(request.query["y"])
        except (KeyError, ValueError):
            x = y = -1.0
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise web.HTTPBadRequest(text="expected x and y between 0 and 1\n")
        result = self._shown(request)
        return web.json_response({"distance_m": distance_at(result, x, y), "number": result.number})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """The newest (or held) frame without loss: see :func:`snapshot_zip`."""
        result = self._shown(request)
        data = await asyncio.get_running_loop().run_in_executor(None, snapshot_zip, result)
        name = snapshot_name(result, self._camera(request) if len(self.channels) > 1 else None)
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/zip",
                "Content-Length": str(len(data)),
                "Content-Disposition": f'attachment; filename="{name}"',
            }
        )
        await response.prepare(request)
        for start in range(0, len(data), BLOCK):
            await asyncio.wait_for(response.write(data[start : start + BLOCK]), WRITE_SECONDS)
        return response
