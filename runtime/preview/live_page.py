"""The live page beside a stream, request by request: pictures, numbers, paused moments, snapshots, recordings.

The page costs the stream nothing while nobody watches. A slow client gets fewer pictures and delays nobody.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mutualformer.runtime.images.colours import PALETTE
from mutualformer.runtime.preview.channel import BOUNDARY, Bundle, Channel, Play, distance_at, parts
from mutualformer.runtime.preview.middleware import body, file, static
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.preview.snapshot import snapshot_zip
from mutualformer.runtime.untrusted.finite import finite_json

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.recorder import Recorder
    from mutualformer.runtime.streaming.sinks import Result

# Open streams of each kind, pictures and numbers: a page has one of either.
MOST_VIEWERS = 8
METRICS_SECONDS = 0.25
# A client that reads nothing for this time is disconnected: phones vanish without closing their connection.
WRITE_SECONDS = 10.0
# Seconds that a new client waits for a new frame before it gets the last one.
STILL_SECONDS = 1.0
MOST_RATE = 100.0  # times a recording's own speed
# Moments kept for paused pages; the oldest is given up first.
MOST_HELD = 8
SCRIPTS = ("app.js", "multipart.js", "pictures.js", "panel.js", "charts.js", "timeline.js", "words.js")


class LivePage:
    """The page on ``server``; :meth:`add` gives the sink of each camera, before the server is entered.

    Everything but :meth:`show` runs in the event loop.
    """

    def __init__(self, server: Server) -> None:
        self.channels: list[Channel] = []
        self._server = server
        self._watching = {"pictures": 0, "numbers": 0}
        self._held: dict[str, dict[int, Result]] = {}  # name of a moment → what each camera showed
        server.routes += [
            web.get("/", self._page),
            *static("style.css", *SCRIPTS, "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css"),
            web.get("/palette.json", self._palette),
            web.get("/frames", self._frames),
            web.get("/mjpeg/{view:rgb|depth|nir|saliency}", self._frames),
            web.get("/events", self._events),
            web.get("/snapshot.zip", self._snapshot),
            web.get("/depth", self._depth),
            web.get("/recordings", self._list),
            web.get("/recordings/{name:.+}", self._download),
            web.post("/hold", self._hold),
            web.post("/release", self._release),
            web.post("/record", self._record),
            web.post("/erase", self._erase),
            web.post("/play", self._play),
        ]

    def add(
        self,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None = None,
        play: Play | None = None,
    ) -> Channel:
        """The sink of one more camera; the arguments are those of :class:`Channel`."""
        self.channels.append(Channel(len(self.channels), self, snapshot, recorder, play))
        return self.channels[-1]

    @property
    def viewers(self) -> int:
        """Number of open pages: each holds a stream of pictures and one of numbers."""
        return max(self._watching.values())

    @property
    def watched(self) -> bool:
        """Whether a client takes pictures."""
        return self._watching["pictures"] > 0

    def details(self) -> dict[str, Any]:
        """For the summary; the address comes without the token, since summaries end up in logs."""
        return {"url": self._server.url(), "viewers": self.viewers}

    def show(self, index: int, bundle: Bundle) -> None:
        """Send a camera's newest pictures to all who watch; from any thread."""
        self._server.soon(lambda: self._publish(index, bundle))

    async def _publish(self, index: int, bundle: Bundle) -> None:
        async with self._server.news:
            self.channels[index].bundle = bundle
            self._server.news.notify_all()

    async def _page(self, request: web.Request) -> web.Response:
        response = file("page.html")
        assert isinstance(response.body, bytes)
        response.body = response.body.replace(b"{{cameras}}", str(len(self.channels)).encode())
        return response

    async def _palette(self, request: web.Request) -> web.Response:
        """The depth colours, far to near, as 256 × [red, green, blue]."""
        return web.json_response(PALETTE.tolist())

    @asynccontextmanager
    async def _watcher(self, kind: str) -> AsyncIterator[None]:
        """Count an open stream. Raises HTTPServiceUnavailable if there are too many of its kind."""
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
            # A stream that runs gives a frame soon; only where none comes is the last one worth encoding again.
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
        """Publish the last frame for a client that comes when no new frame does: ended, lost, paused or very slow."""
        loop = asyncio.get_running_loop()
        for channel in self.channels:
            latest, bundle = channel.latest, channel.bundle
            if latest is not None and (bundle is None or bundle.number != latest.number):
                pictures = await loop.run_in_executor(None, channel.pictures, latest)
                if channel.bundle is bundle:  # else a newer frame was published while these pictures were encoded
                    await self._publish(channel.index, pictures)

    @staticmethod
    def _multipart(**headers: str) -> web.StreamResponse:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return web.StreamResponse(headers={"Content-Type": kind, "X-Accel-Buffering": "no", **headers})

    async def _next(self, last: dict[int, int]) -> dict[int, Bundle] | None:
        """Wait for bundles newer than ``last`` (camera → number); None when the server stops."""
        stopping = self._server.stopping

        def news() -> dict[int, Bundle]:
            newest = {index: self.channels[index].bundle for index in last}
            return {i: bundle for i, bundle in newest.items() if bundle is not None and bundle.number != last[i]}

        async with self._server.news:
            await self._server.news.wait_for(lambda: stopping.is_set() or news())
        return None if stopping.is_set() else news()

    def _camera(self, request: web.Request) -> int:
        """``?camera=K``. Raises HTTPNotFound for a camera that this page does not have."""
        number = request.query.get("camera", "0")
        if number not in map(str, range(len(self.channels))):
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

    async def _play(self, request: web.Request) -> web.Response:
        """``{"frames": N, "position": 0.5, "rate": 2}``, each as of :meth:`Capture.play`; without ``frames`` recordings
        play on, without the others they go on where and as fast as they were."""
        wish = await body(request)
        frames = wish.whole("frames", 0, 1 << 20, -1)
        position = wish.number("position", 0.0, 1.0) if wish.get("position") is not None else None
        rate = wish.number("rate", 0.0, MOST_RATE) if wish.get("rate") is not None else None
        for channel in self.channels:
            if channel.play is not None:
                channel.play(frames if frames >= 0 else math.inf, position, rate)
        return web.Response(status=204)

    def _folders(self) -> dict[int, Path]:
        """Where each camera is recorded; the folder need not be there yet."""
        return {c.index: c.recorder.folder.absolute() for c in self.channels if c.recorder is not None}

    def _recordings(self) -> dict[str, Path]:
        """The files in these folders, as ``CAMERA/RECORDING/part-0000.mcap``."""
        found = [(index, path) for index, folder in self._folders().items() for path in folder.glob("*/part-*.mcap")]
        return {f"{index}/{path.parent.name}/{path.name}": path for index, path in sorted(found) if path.is_file()}

    async def _list(self, request: web.Request) -> web.Response:
        """``{"free_bytes": …, "files": [{"name": …, "bytes": …}]}``; ``/recordings/NAME`` downloads one."""
        files = [{"name": name, "bytes": path.stat().st_size} for name, path in self._recordings().items()]
        # A folder appears with its first recording; until then the free space is that of the nearest one that exists.
        there = [next(p for p in (folder, *folder.parents) if p.is_dir()) for folder in self._folders().values()]
        free = [shutil.disk_usage(folder).free for folder in there]
        return web.json_response({"free_bytes": min(free, default=0), "files": files})

    async def _erase(self, request: web.Request) -> web.Response:
        """``{"name": "CAMERA/RECORDING"}``: delete the parts of a recording, unless it is being written."""
        name = (await body(request)).text("name")
        parts = [path for key, path in self._recordings().items() if key.rpartition("/")[0] == name]
        if not parts:
            raise web.HTTPNotFound(text="there is no such recording\n")
        folder = parts[0].parent
        if any(c.recorder is not None and c.recorder.writing == folder for c in self.channels):
            raise web.HTTPConflict(text="it is still being recorded; stop it first\n")
        for path in parts:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody put other files there
            folder.rmdir()
        return web.Response(status=204)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        path = self._recordings().get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound(text="there is no such recording\n")
        # A recording that grows meanwhile is sent up to its size at this moment.
        return web.FileResponse(path, headers=attachment(f"{path.parent.name}-{path.name}"))

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        """Keep the newest frame of every camera for a paused page and send its pictures: distances and snapshots are
        then of exactly this frame. ``X-Hold`` names it for ``/snapshot.zip``, ``/depth`` and ``/release``."""
        results = {channel.index: channel.latest for channel in self.channels if channel.latest is not None}
        if not results:
            raise web.HTTPNotFound(text="no frame yet\n")
        name = secrets.token_urlsafe(12)
        self._held[name] = results
        # A page that is closed while it is paused never releases its moment; the number of moments bounds the memory.
        while len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]
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
        self._held.pop((await body(request)).text("hold", ""), None)
        return web.Response(status=204)

    def _shown(self, request: web.Request) -> Result:
        """The result a request means: the held one of ``?hold=``, else the newest. Raises HTTPNotFound, HTTPGone."""
        camera = self._camera(request)
        if "hold" in request.query:
            result = self._held.get(request.query["hold"], {}).get(camera)
            if result is None:
                raise web.HTTPGone(text="the paused picture was given up; resume and pause again\n")
        elif (result := self.channels[camera].latest) is None:
            raise web.HTTPNotFound(text="no frame yet\n")
        return result

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

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        """The newest (or held) frame without loss: see :func:`snapshot_zip`."""
        result = self._shown(request)
        data = await asyncio.get_running_loop().run_in_executor(None, snapshot_zip, result)
        which = f"camera{self._camera(request) + 1}-" if len(self.channels) > 1 else ""
        # The number is ours: the one in the file of a recording may be anything.
        name = f"mutualformer-{which}{result.number:06d}.zip"
        return web.Response(body=data, content_type="application/zip", headers=attachment(name))


def attachment(name: str) -> dict[str, str]:
    """The header of an answer that browsers save as a file called ``name``."""
    return {"Content-Disposition": f'attachment; filename="{re.sub("[^A-Za-z0-9._-]", "_", name)}"'}
