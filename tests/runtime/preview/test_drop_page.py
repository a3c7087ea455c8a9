"""The drop page: a picture goes in from the browser, its files come back; limits, refusals, every state."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest

from mutualformer.runtime.prediction.upload import FILES, OVERLAY, files
from mutualformer.runtime.preview import drop_page
from mutualformer.runtime.preview.drop_page import LARGEST_UPLOAD, MOST_UPLOADS, DropPage
from mutualformer.runtime.preview.middleware import PAGE
from mutualformer.runtime.preview.server import Server
from tests.pictures import decode_picture
from tests.runtime.fakes import FakeSession
from tests.runtime.preview.stage import look, violations
from tests.runtime.preview.webdriver import CHROMIUM, DRIVER, Browser

TOKEN = "open sesame please"
OURS = {"X-Requested-With": "mutualformer"}
needs_browser = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="Chromium is not installed")


def photo() -> bytes:
    """Two red things upon grey."""
    image = np.full((300, 400, 3), 60, np.uint8)
    image[60:160, 40:140] = image[150:280, 240:360] = (30, 30, 250)
    return bytes(cv2.imencode(".png", image)[1])


def depth() -> bytes:
    """The left one at 1.25 m, the right one at 2.5 m, the rest at 4 m."""
    millimetres = np.full((300, 400), 4000, np.uint16)
    millimetres[60:160, 40:140], millimetres[150:280, 240:360] = 1250, 2500
    return bytes(cv2.imencode(".png", millimetres)[1])


def answer(one: bytes, other: bytes) -> dict[str, bytes]:
    return files(FakeSession(size=(96, 128)), one, other, 0.5)


@pytest.fixture
def page() -> Iterator[Server]:
    server = Server("127.0.0.1:0", None, option="--page")
    DropPage(server, answer)
    with server:
        yield server


def post(server: Server, body: Any, query: str = "", headers: dict[str, str] = OURS) -> tuple[int, str, bytes]:
    request = Request(f"http://127.0.0.1:{server.port}/predict{query}", body, headers)
    try:
        with urlopen(request, timeout=20) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read()
    except HTTPError as error:
        with error:
            return error.code, "", error.read()


def parts(kind: str, body: bytes) -> dict[str, bytes]:
    boundary = kind.partition("boundary=")[2].encode()
    found = {}
    for piece in body.split(b"--" + boundary)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        found[re.search(rb'filename="(.*?)"', head)[1].decode()] = content[:-2]  # type: ignore[index]
    return found


def test_a_picture_and_its_depth_become_files_with_each_object_s_distance(page: Server) -> None:
    picture = photo()
    status, kind, body = post(page, picture + depth(), f"?photo={len(picture)}")
    assert status == 200
    found = parts(kind, body)
    assert list(found) == [*FILES, OVERLAY, "notes.txt"]
    objects = json.loads(found["objects.json"])["objects"]
    assert [one["distance_m"] for one in objects] == pytest.approx([1.25, 2.5], rel=0.02)
    cut = decode_picture(found["cutout.png"], cv2.IMREAD_UNCHANGED)
    assert cut.shape == (300, 400, 4)
    assert (cut[110, 90, 3], cut[20, 300, 3]) == (255, 0)
    found = parts(*post(page, picture)[1:])
    assert json.loads(found["objects.json"])["nearest_object_m"] is None, "without depth no distance"


def test_what_cannot_be_read_is_one_sentence(page: Server) -> None:
    assert post(page, b"hello") == (422, "", b"the picture's bytes: is no picture of a known format, expected a "
                                             b"picture: PNG, JPEG, TIFF, WebP, \xe2\x80\xa6\n")  # fmt: skip
    assert b"depth" in post(page, photo() + b"hello", f"?photo={len(photo())}")[2]
    for query in ("?photo=-1", "?photo=x", "?photo=99999999", "?photo=%C2%B2"):
        assert post(page, photo(), query)[0] == 400


def test_sizes_are_refused_before_memory_is_taken(page: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared length at once; what comes in chunks when it passes the limit."""
    monkeypatch.setattr(drop_page, "LARGEST_UPLOAD", 1 << 20)
    assert post(page, bytes((1 << 20) + 1))[0] == 413
    sent = []

    def chunks() -> Iterator[bytes]:
        for number in range(1 << 10):
            sent.append(number)
            yield bytes(1 << 16)

    try:
        assert post(page, chunks())[0] == 413
    except OSError:  # the server has closed the connection: as good as its answer
        assert len(sent) < 1 << 10
    assert post(page, photo())[0] == 200


def test_only_a_few_uploads_are_in_memory_at_once() -> None:
    go = threading.Event()

    def slow(one: bytes, other: bytes) -> dict[str, bytes]:
        assert go.wait(20)
        return {"notes.txt": one}

    server = Server("127.0.0.1:0", None)
    page = DropPage(server, slow)
    statuses: list[int] = []
    with server:
        threads = [threading.Thread(target=lambda: statuses.append(post(server, b"x")[0])) for _ in range(MOST_UPLOADS)]
        for thread in threads:
            thread.start()
        while page._uploads < MOST_UPLOADS:
            threading.Event().wait(0.01)
        assert post(server, b"x")[0] == 503
        go.set()
        for thread in threads:
            thread.join(20)
        assert statuses == [200] * MOST_UPLOADS
        assert post(server, b"x")[0] == 200


def test_nobody_gets_in_without_the_token_and_no_body_is_read_for_them() -> None:
    seen: list[bytes] = []
    server = Server("127.0.0.1:0", TOKEN, option="--page")
    DropPage(server, lambda one, other: seen.append(one) or {})  # type: ignore[func-returns-value]
    with server:
        assert post(server, photo())[0] == 401
        assert post(server, photo(), headers={**OURS, "Authorization": "Bearer wrong"})[0] == 401
        assert post(server, photo(), headers={"Authorization": f"Bearer {TOKEN}"})[0] == 403, "a foreign page's form"
        assert seen == []
        assert post(server, photo(), headers={**OURS, "Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert seen == [photo()]


written: list[str] | None = None


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if written is not None and event == "open" and isinstance(arguments[2], int) and arguments[2] & 0b11:
        written.append(str(arguments[0]))


def test_nothing_is_written_to_the_disk(page: Server) -> None:
    global written
    post(page, photo())  # what is imported at the first time may write its cache
    sys.addaudithook(hook)
    written = []
    try:
        assert post(page, photo() + depth(), f"?photo={len(photo())}")[0] == 200
        assert written == []
    finally:
        written = None


def test_the_page_and_the_server_agree_about_the_largest_upload() -> None:
    assert f"LARGEST_MIB = {LARGEST_UPLOAD >> 20};" in (PAGE / "drop.js").read_text()


GIVE = """
const input = document.getElementById(arguments[0]), files = new DataTransfer();
const bytes = Uint8Array.from(atob(arguments[2]), (c) => c.charCodeAt(0));
files.items.add(new File([bytes], arguments[1]));
input.files = files.files;
input.dispatchEvent(new Event('change'));
"""


def give(browser: Browser, element: str, name: str, data: bytes) -> None:
    browser.run(GIVE, element, name, base64.b64encode(data).decode())


def done(browser: Browser, state: str = "done") -> None:
    browser.until(f"return document.body.dataset.state === '{state}'")


def text(browser: Browser, element: str) -> str:
    return str(browser.run("return document.getElementById(arguments[0]).textContent", element))


@needs_browser
def test_the_page_in_every_state(browser: Browser, tmp_path: Path, page: Server) -> None:
    browser.open(page.url())
    browser.until("return document.body.dataset.state === 'empty'")
    look(browser, "drop-empty", tmp_path)
    assert violations(browser) == []
    give(browser, "photo", "two things.png", photo())
    done(browser)
    assert text(browser, "seen") == "2 objects"
    assert browser.run("return [...document.querySelectorAll('#files a')].map((a) => a.download)") == [
        f"two things-{name}" for name in ("cutout.png", "overlay.jpg", "mask.png", "objects.json")
    ]
    give(browser, "depth", "two things depth.png", depth())
    browser.until("return document.getElementById('seen').textContent.startsWith('2 objects, the nearest at 1.2')")
    assert "its nearest point" in text(browser, "objects")
    pictures = set()
    for name in ("overlay.jpg", "cutout.png", "mask.png"):
        browser.run("document.querySelector(`#views input[value='${arguments[0]}']`).click()", name)
        browser.until("const p = document.getElementById('picture'); return p.complete && p.naturalWidth === 400")
        pictures.add(browser.run("return document.getElementById('picture').src"))
        look(browser, f"drop-{name.split('.')[0]}", tmp_path)
        assert violations(browser) == []
    assert len(pictures) == 3
    assert browser.console() == []
    give(browser, "photo", "notes.txt", b"no picture at all")
    done(browser, "failed")
    assert text(browser, "notice").startswith("notes.txt: is no picture")
    assert browser.run("return document.getElementById('answer').hidden"), "the answer was another picture's"
    look(browser, "drop-failed", tmp_path)
    assert violations(browser) == []


@needs_browser
def test_a_dropped_pair_is_told_apart_and_a_busy_page_says_so(browser: Browser, tmp_path: Path) -> None:
    go = threading.Event()
    pairs = []

    def slow(one: bytes, other: bytes) -> dict[str, bytes]:
        pairs.append((one, other))
        assert go.wait(20)
        return answer(one, other)

    server = Server("127.0.0.1:0", TOKEN)
    DropPage(server, slow)
    with server:
        browser.open(server.url(secret=True))
        browser.until("return (document.body || {dataset: {}}).dataset.state === 'empty'")
        drop = """
        const files = new DataTransfer();
        for (const [name, data] of arguments[0])
          files.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
        document.dispatchEvent(new DragEvent('drop', {dataTransfer: files, cancelable: true}));
        """
        two = [("a-depth.png", depth()), ("a.png", photo())]
        browser.run(drop, [(name, base64.b64encode(data).decode()) for name, data in two])
        done(browser, "busy")
        look(browser, "drop-busy", tmp_path)
        go.set()
        done(browser)
        assert pairs == [(photo(), depth())]
        assert text(browser, "seen") == "2 objects, the nearest at 1.25 m"
