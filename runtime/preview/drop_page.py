"""The drop page: a picture comes from the browser, its files go back to it. Nothing is written to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from mimetypes import guess_type
from typing import TypeAlias

from aiohttp import MultipartWriter, web

from mutualformer.runtime.preview.middleware import UPLOAD, file, static
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.untrusted.printable import printable

# (photograph, depth map or nothing), both as files' bytes → the answer's files by name.
Answer: TypeAlias = Callable[[bytes, bytes], dict[str, bytes]]
# Bytes of photograph and depth map together: the JPEG of a 108-megapixel phone takes 40 MB.
LARGEST_UPLOAD = 64 << 20
MOST_UPLOADS = 4  # at once, each of up to LARGEST_UPLOAD bytes in memory; one of them is predicted at a time


class DropPage:
    """The page on ``server``, to be made before the server is entered.

    ``answer`` runs in a thread of its own, one picture at a time; the client reads the sentence of a ValueError,
    RuntimeError or MemoryError that it raises.
    """

    def __init__(self, server: Server, answer: Answer) -> None:
        self._answer, self._uploads = answer, 0
        self._worker = ThreadPoolExecutor(1, "predict")
        files = static("style.css", "drop.css", "drop.js", "words.js")
        server.routes += [web.get("/", self._page), *files, web.post(UPLOAD, self._predict)]

    async def _page(self, request: web.Request) -> web.Response:
        return file("drop.html")

    async def _predict(self, request: web.Request) -> web.Response:
        """The body is the photograph; with ``?photo=BYTES`` what follows so many bytes is the depth map."""
        if self._uploads >= MOST_UPLOADS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_UPLOADS} pictures are being predicted already\n")
        self._uploads += 1
        try:
            # A body is read up to the limit only.
            data = await request.clone(client_max_size=LARGEST_UPLOAD).read()
            split = request.query.get("photo", str(len(data)))
            if not (split.isascii() and split.isdigit() and int(split) <= len(data)):
                raise web.HTTPBadRequest(text=f"photo is not a number up to {len(data)}\n")
            pair = data[: int(split)], data[int(split) :]
            files = await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, *pair)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise web.HTTPUnprocessableEntity(text=f"{printable(str(error)) or 'out of memory'}\n") from error
        finally:
            self._uploads -= 1
        form = MultipartWriter("form-data")
        for name, content in files.items():
            part = form.append(content, {"Content-Type": guess_type(name)[0] or "text/plain"})
            part.set_content_disposition("form-data", name=name, filename=name)
        return web.Response(body=form)
