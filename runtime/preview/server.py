"""Serves the live page from its own thread and event loop: MJPEG pictures, server-sent metrics, the record switch.

Costs the stream nothing while nobody watches; a slow visitor gets fewer pictures and harms nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from mutualformer.runtime.cameras.base import Camera
from mutualformer.runtime.depth_colours import PALETTE
from mutualformer.runtime.finite import finite_json
from mutualformer.runtime.preview import access
from mutualformer.runtime.preview.addresses import is_local, link, parse_address, reachable
from mutualformer.runtime.preview.channel import Bundle, Channel, distance_at
from mutualformer.runtime.preview.doors import Doors, Limits, RareLines
from mutualformer.runtime.preview.files import FILES, read
from mutualformer.runtime.preview.holds import Holds
from mutualformer.runtime.preview.snapshot import snapshot_name, snapshot_zip
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result

BOUNDARY = "mutualformer-frame"
# Open streams of each kind, pictures and numbers: a page has one of either.
MOST_VIEWERS = 8
METRICS_SECONDS = 0.25
# A visitor who takes nothing for so long is gone: phones vanish without closing their connection.
WRITE_SECONDS = 10.0
BLOCK = 1 << 16

log = logging.getLogger("mutualformer.preview")
door_log = logging.getLogger("mutualformer.preview.doors")


class PreviewError(RuntimeError):
    """The page cannot be served."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For ``--tls CERT KEY``, both PEM. Raises PreviewError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror or str(error) or type(error).__name__
        raise PreviewError(
            f"--tls {certificate} {key}: expected a certificate and its key in PEM ({reason})"
        ) from error
    return context


class Preview:
    """A sink and a web server; use it as a context manager around the stream.

    ``address``: HOST:PORT, port 0 takes a free one. ``snapshot``: gives the numbers to show. ``recorder``: what the
    record button switches. ``tls``: certificate and key in PEM. :meth:`add` gives the sinks of further cameras.
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
        self._host, self._port = parse_address(address, token)
        self._token, self._fps, self._limits = token, fps, limits
        self._tls = tls_context(*tls) if tls is not None else None
        self._watching = {"pictures": 0, "numbers": 0}
        self.channels: list[Channel] = []
        self.add(snapshot, recorder)
        self._holds = Holds()
        self._news: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure = ""
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="preview", daemon=True)

    def add(self, snapshot: Callable[[], dict[str, Any]], recorder: Recorder | None = None) -> Channel:
        """The sink of one more camera on the same page; to be called before the page is served."""
        channel = Channel(
            len(self.channels),
            snapshot,
            recorder,
            self._fps,
            lambda: self._watching["pictures"] > 0,
            self._publish_soon,
            self.details,
        )
        self.channels.append(channel)
        return channel

    # As a sink, on the sink's thread: the first camera's.

    def open(self, camera: Camera) -> None: ...

    def write(self, result: Result) -> None:
        self.channels[0].write(result)

    def close(self) -> None: ...

    def details(self) -> dict[str, Any]:
        """For the summary; the address without the token, since it ends up in logs."""
        return {"url": self.url, "viewers": max(self._watching.values())}

    # As a server.

    @property
    def url(self) -> str:
        """What to open; the token is not in it, since it ends up in logs."""
        return link(self._host, self._port, scheme=self._scheme) + ("?token=…" if self._token else "")

    @property
    def open_url(self) -> str:
        """A link that opens from other machines, token and all: for a person's eyes or a QR code, not for a log."""
        return link(reachable(self._host), self._port, self._token, scheme=self._scheme)

    @property
    def _scheme(self) -> str:
        return "https" if self._tls is not None else "http"

    @property
    def warning(self) -> str:
        """One sentence where the token and the pictures travel readable for others, else empty."""
        if is_local(self._host) or self._tls is not None:
            return ""
        return "without --tls CERT KEY the token and the pictures cross the network readable for anyone in it"

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Preview:
        self._thread.start()
        self._serving.wait(10)
        if self._failure or not self._serving.is_set():
            raise PreviewError(
                f"the preview cannot listen on {self._host}:{self._port} ({self._failure or 'no answer'}); "
                "choose another port"
            )
        return self

    def __exit__(self, *_: object) -> None:
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)
        self._thread.join(5)

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error.strerror or str(error)
        finally:
            self._serving.set()

    async def _main(self) -> None:
        self._loop, self._stopping, self._news = asyncio.get_running_loop(), asyncio.Event(), asyncio.Condition()
        self._loop.set_exception_handler(lambda loop, context: log.error("%s", context.get("message", "")))
        for logger in (log, door_log):  # for this run, so that many pages in one process do not silence each other
            logger.filters[:] = [RareLines()]
        gate = access.Gate(
            self._token,
            lambda: self._port,
            secure=self._tls is not None,
            form=lambda: read("login.html"),
            landing=lambda: read("landing.html"),
        )

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._through(gate, request, handler)

        app = web.Application(middlewares=[middleware], client_max_size=4096)
        app.on_response_prepare.append(access.add_headers)
        self._routes(app, gate)
        # Streams are ended by ``stopping``; whoever still hangs on half a second later is cut off.
        runner = web.AppRunner(
            app, access_log=None, logger=log, shutdown_timeout=0.5, handler_cancellation=True, keepalive_timeout=10.0
        )
        await runner.setup()
        assert runner.server is not None
        self._doors = Doors(runner.server, door_log.warning, self._tls, self._limits)
        try:
            self._port = await self._doors.listen(self._host, self._port)
            self._serving.set()
            await self._stopping.wait()
            async with self._news:
                self._news.notify_all()
        finally:
            await self._doors.close()
            await runner.cleanup()
            self._doors.shut_all()

    def _routes(self, app: web.Application, gate: access.Gate) -> None:
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/palette.json", self._palette)
        app.router.add_get("/frames", self._frames)
        app.router.add_get("/mjpeg/{view:rgb|depth|nir|saliency}", self._frames)
        app.router.add_get("/events", self._events)
        app.router.add_get("/snapshot.zip", self._download)
        app.router.add_get("/depth", self._depth)
        app.router.add_post("/hold", self._hold)
        app.router.add_post("/release", self._release)
        app.router.add_post("/record", self._record)
        app.router.add_post("/login", gate.login)
        app.router.add_get("/session", gate.session)

    async def _through(self, gate: access.Gate, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request: its body within the time that the door allows, then the gate, then the answer."""
        door = self._doors.of(request)
        try:
            if request.can_read_body:
                await request.read()  # kept by aiohttp: handlers read it again
            if door is not None:
                door.request_complete()

            async def admitted(inner: web.Request) -> web.StreamResponse:
                if door is not None:
                    door.admitted = True
                return await handler(inner)

            return await gate(request, admitted)
        except UnicodeError as error:  # bytes that are no text, in a header or a path
            raise web.HTTPBadRequest(text="the request is not text\n") from error
        finally:
            if door is not None:
                door.request_over()

    def _publish_soon(self, index: int, bundle: Bundle) -> None:
        """From a sink's thread."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._publish(index, bundle), self._loop)

    async def _publish(self, index: int, bundle: Bundle) -> None:
        assert self._news is not None
        async with self._news:
            self.channels[index].bundle = bundle
            self._news.notify_all()

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path]
        body = (
            read(name).replace(b"{{cameras}}", str(len(self.channels)).encode()) if name == "page.html" else read(name)
        )
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _palette(self, request: web.Request) -> web.Response:
        """The depth colours, far to near, as 256 × [red, green, blue]."""
        return web.json_response(PALETTE.tolist())

    @asynccontextmanager
    async def _watcher(self, kind: str) -> AsyncIterator[None]:
        """Counts an open stream. Raises HTTPServiceUnavailable where there are too many of its kind."""
        if self._watching[kind] >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} visitors are watching already\n")
        self._watching[kind] += 1
        try:
            yield
        except (ConnectionError, asyncio.TimeoutError):
            pass  # the visitor left
        finally:
            self._watching[kind] -= 1

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        """Endless multipart JPEG: one view for ``/mjpeg/VIEW``, all views of each frame in turn for the page."""
        only = request.match_info.get("view")
        wanted = [self._camera(request)] if only or "camera" in request.query else list(range(len(self.channels)))
        response = self._multipart()
        async with self._watcher("pictures"):
            await response.prepare(request)
            last = dict.fromkeys(wanted, -1)
            while (bundles := await self._next(last)) is not None:
                for index, bundle in bundles.items():
                    last[index] = bundle.number
                    data = parts(index, bundle, only)
                    await asyncio.wait_for(response.write(data), WRITE_SECONDS)
        return response

    @staticmethod
    def _multipart(**headers: str) -> web.StreamResponse:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return web.StreamResponse(headers={"Content-Type": kind, "X-Accel-Buffering": "no", **headers})

    async def _next(self, last: dict[int, int]) -> dict[int, Bundle] | None:
        """The newest bundles that are not ``last``, camera by camera; None when the server stops."""
        assert self._news is not None
        assert self._stopping is not None
        stopping = self._stopping

        def news() -> dict[int, Bundle]:
            newest = {index: self.channels[index].bundle for index in last}
            return {i: bundle for i, bundle in newest.items() if bundle is not None and bundle.number != last[i]}

        async with self._news:
            await self._news.wait_for(lambda: stopping.is_set() or news())
        return None if stopping.is_set() else news()

    def _camera(self, request: web.Request) -> int:
        """``?camera=K``. Raises HTTPNotFound for one this page does not have."""
        number = request.query.get("camera", "0")
        if not (number.isascii() and number.isdigit() and len(number) < 4 and int(number) < len(self.channels)):
            raise web.HTTPNotFound(text=f"there is no such camera; this page has {len(self.channels)}\n")
        return int(number)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the numbers of each camera four times a second, once more when the stream has ended."""
        assert self._stopping is not None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        async with self._watcher("numbers"):
            await response.prepare(request)
            over = False
            while not over:
                over = self._stopping.is_set()
                lines = [finite_json({**channel.news(), "camera": channel.index}) for channel in self.channels]
                data = "".join(f"retry: 1000\ndata: {line}\n\n" for line in lines)
                await asyncio.wait_for(response.write(data.encode()), WRITE_SECONDS)
                if not over:
                    await self._pause(METRICS_SECONDS)
        return response

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the stream."""
        assert self._stopping is not None
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _record(self, request: web.Request) -> web.Response:
        """All cameras at once: what belongs together is recorded together."""
        recorders = [channel.recorder for channel in self.channels if channel.recorder is not None]
        if not recorders:
            raise web.HTTPConflict(text="this stream has no recorder\n")
        wanted = (await body(request)).get("on")
        if not isinstance(wanted, bool):
            raise web.HTTPBadRequest(text='expected {"on": true} or {"on": false}\n')
        for recorder in recorders:
            recorder.switch(wanted)
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
        self._holds.release(str((await body(request)).get("hold", "")))
        return web.Response(status=204)

    def _shown(self, request: web.Request) -> Result:
        """The result a request means: the held one of ``?hold=``, else the newest. Raises HTTPNotFound, HTTPGone."""
        camera = self._camera(request)
        if "hold" in request.query:
            held = self._holds.get(request.query["hold"], camera)
            if held is None:
                raise web.HTTPGone(text="the paused picture was given up; resume and pause again\n")
            return held
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


def parts(index: int, bundle: Bundle, only: str | None = None) -> bytes:
    """A frame's views as parts of a multipart stream. The last carries what is seen in it, so that the two never
    disagree. ``only``: this view alone."""
    views = [(name, data) for name, data in bundle.views.items() if only in (None, name)]
    out = []
    for position, (name, data) in enumerate(views):
        final = position == len(views) - 1
        near, far = bundle.range_m
        about = f"X-Range: {near:.3f},{far:.3f}\r\nX-Seen: {finite_json(bundle.seen)}\r\n" if final else ""
        head = (
            f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\nX-Camera: {index}\r\n"
            f"X-Number: {bundle.number}\r\nX-View: {name}\r\nX-Final: {int(final)}\r\n{about}\r\n"
        )
        out += [head.encode(), data, b"\r\n"]
    return b"".join(out)


async def body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request; an empty one where it is no such thing."""
    try:
        value = json.loads(await request.text())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
