"""Serves the live page from its own thread and event loop: MJPEG pictures, server-sent metrics, the record switch.

Costs the stream nothing while nobody watches; a slow visitor gets fewer pictures and harms nobody.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import web

from mutualformer.runtime.cameras.base import Camera
from mutualformer.runtime.preview import access
from mutualformer.runtime.preview.encode import Encoder
from mutualformer.runtime.streaming.console import describe
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result

HERE = Path(__file__).parent
BOUNDARY = "mutualformer-frame"
MOST_VIEWERS = 8
METRICS_SECONDS = 0.25
# A visitor who takes nothing for so long is gone: phones vanish without closing their connection.
WRITE_SECONDS = 10.0
FILES = {
    "/": ("page.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}


class PreviewError(RuntimeError):
    """The page cannot be served."""


class Preview:
    """A sink and a web server; use it as a context manager around the stream.

    ``address``: HOST:PORT, port 0 takes a free one. ``snapshot``: gives the numbers to show. ``recorder``: what the
    record button switches.
    """

    name = "preview"

    def __init__(
        self,
        address: str,
        token: str | None,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None = None,
        fps: float = 30.0,
    ) -> None:
        self._host, self._port = access.parse_address(address, token)
        self._token, self._snapshot, self._recorder = token, snapshot, recorder
        self._period, self._encoded_at = 1.0 / fps, 0.0
        self._encode = Encoder()
        self._viewers = 0
        self._latest: Result | None = None
        self._bundle: tuple[int, dict[str, bytes]] | None = None
        self._news: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure = ""
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="preview", daemon=True)

    # As a sink, on the sink's thread.

    def open(self, camera: Camera) -> None: ...

    def write(self, result: Result) -> None:
        self._latest = result
        now = time.monotonic()
        if not self._viewers or now - self._encoded_at < 0.9 * self._period:
            return
        self._encoded_at = now
        bundle = (result.number, self._encode(result))
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._publish(bundle), self._loop)

    def close(self) -> None: ...

    def details(self) -> dict[str, Any]:
        return {"url": self.url, "viewers": self._viewers}

    # As a server.

    @property
    def url(self) -> str:
        """What to open; the token is not in it, since it ends up in logs."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/" + ("?token=…" if self._token else "")

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
        app = web.Application(middlewares=[access.guard(self._token)], client_max_size=4096)
        app.on_response_prepare.append(access.add_headers)
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/frames", self._frames)
        app.router.add_get("/mjpeg/{view:rgb|depth|nir|saliency}", self._frames)
        app.router.add_get("/events", self._events)
        app.router.add_get("/snapshot.zip", self._download)
        app.router.add_post("/record", self._record)
        # Streams are ended by ``stopping``; whoever still hangs on half a second later is cut off.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
            self._port = next(iter(runner.addresses))[1]
            self._serving.set()
            await self._stopping.wait()
            async with self._news:
                self._news.notify_all()
        finally:
            await runner.cleanup()

    async def _publish(self, bundle: tuple[int, dict[str, bytes]]) -> None:
        assert self._news is not None
        async with self._news:
            self._bundle = bundle
            self._news.notify_all()

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path]
        return web.Response(body=(HERE / name).read_bytes(), content_type=kind, charset="utf-8")

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        """Endless multipart JPEG: one view for ``/mjpeg/VIEW``, all views of each frame in turn for the page."""
        if self._viewers >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} visitors are watching already\n")
        only = request.match_info.get("view")
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}", "X-Accel-Buffering": "no"}
        )
        self._viewers += 1
        try:
            await response.prepare(request)
            last = -1
            while (bundle := await self._next(last)) is not None:
                last = bundle[0]
                views = [(name, data) for name, data in bundle[1].items() if only in (None, name)]
                parts = [self._part(last, name, data, position == len(views) - 1)
                         for position, (name, data) in enumerate(views)]  # fmt: skip
                await asyncio.wait_for(response.write(b"".join(parts)), WRITE_SECONDS)
        except (ConnectionError, asyncio.TimeoutError):
            pass  # the visitor left
        finally:
            self._viewers -= 1
        return response

    @staticmethod
    def _part(number: int, view: str, data: bytes, final: bool) -> bytes:
        head = (
            f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n"
            f"X-Number: {number}\r\nX-View: {view}\r\nX-Final: {int(final)}\r\n\r\n"
        )
        return head.encode() + data + b"\r\n"

    async def _next(self, last: int) -> tuple[int, dict[str, bytes]] | None:
        """The newest bundle that is not ``last``; None when the server stops."""
        assert self._news is not None
        assert self._stopping is not None
        async with self._news:
            await self._news.wait_for(
                lambda: self._stopping.is_set() or (self._bundle is not None and self._bundle[0] != last)  # type: ignore[union-attr]
            )
        return None if self._stopping.is_set() else self._bundle

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the pipeline's numbers four times a second."""
        assert self._stopping is not None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            while not self._stopping.is_set():
                told = self._snapshot()
                latest = self._latest
                if latest is not None:
                    told["seen"] = {key: value for key, value in describe(latest).items() if key != "feature"}
                data = f"retry: 1000\ndata: {json.dumps(told)}\n\n"
                await asyncio.wait_for(response.write(data.encode()), WRITE_SECONDS)
                await asyncio.sleep(METRICS_SECONDS)
        except (ConnectionError, asyncio.TimeoutError):
            pass
        return response

    async def _record(self, request: web.Request) -> web.Response:
        if self._recorder is None:
            raise web.HTTPConflict(text="this stream has no recorder\n")
        try:
            wanted = (await request.json())["on"]
        except (ValueError, KeyError, TypeError):
            wanted = None
        if not isinstance(wanted, bool):
            raise web.HTTPBadRequest(text='expected {"on": true} or {"on": false}\n')
        self._recorder.switch(wanted)
        return web.json_response({"recording": self._recorder.recording})

    async def _download(self, request: web.Request) -> web.Response:
        """The newest frame without loss: colour, depth in 16-bit millimetres, saliency, what was seen in JSON."""
        if self._latest is None:
            raise web.HTTPNotFound(text="no frame yet\n")
        body = await asyncio.get_running_loop().run_in_executor(None, snapshot_zip, self._latest)
        name = f"mutualformer-{self._latest.frame.sequence}.zip"
        return web.Response(
            body=body,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def snapshot_zip(result: Result) -> bytes:
    """``rgb.png``, ``depth_mm.png`` (uint16), ``saliency.png`` (0…255 at the model's size), ``frame.json``."""
    frame = result.frame
    millimetres = np.clip(np.rint(frame.depth * 1000), 0, 65535).astype(np.uint16)
    images: dict[str, Any] = {"rgb.png": cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), "depth_mm.png": millimetres}
    if frame.nir is not None:
        images["nir.png"] = frame.nir
    if "saliency" in result.outputs:
        images["saliency.png"] = cv2.convertScaleAbs(result.outputs["saliency"], alpha=255.0)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, image in images.items():
            archive.writestr(name, bytes(cv2.imencode(".png", image)[1]))
        archive.writestr("frame.json", json.dumps(describe(result), indent=1))
    return out.getvalue()
