"""Behind nginx as docs/stream.md tells: nobody without the token, and everything works with it."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from pathlib import Path

from mutualformer.runtime.preview.drop_page import DropPage
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.streaming.recorder import Recorder
from tests.runtime.preview.nginx import Nginx, needs_nginx
from tests.runtime.preview.one_camera import Preview
from tests.runtime.preview.test_foxglove import Running, everything, refusal
from tests.runtime.preview.test_server import TOKEN, news, result

pytestmark = needs_nginx
QUERY = "?token=open%20sesame%20please"


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, data, {key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace"), dict(error.headers)


def test_a_page_without_token_takes_nobody_for_this_machine(tmp_path: Path) -> None:
    with Preview("127.0.0.1:0", None, news) as page, Nginx(page.server.port, tmp_path) as nginx:
        page.write(result(1))
        for path in ("", "snapshot.zip", "frames", "foxglove"):
            status, text, _ = ask(nginx.url + path)
            assert (status, "--token-file" in text) == (403, True)
        assert ask(nginx.url + "record", b'{"on": true}', X_Requested_With="mutualformer")[0] == 403


def test_with_the_token_everything_works_under_the_prefix(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recordings", on=False)
    with Preview("127.0.0.1:0", TOKEN, news, recorder) as page, Nginx(page.server.port, tmp_path) as nginx:
        page.write(result(1))
        assert ask(nginx.url)[0] == 401
        status, text, headers = ask(nginx.url + QUERY)
        assert (status, "url=./" in text) == (200, True)
        session = headers["Set-Cookie"].split(";")[0]
        assert 'data-cameras="1"' in ask(nginx.url, Cookie=session)[1]
        assert ask(nginx.url + "snapshot.zip", Cookie=session)[0] == 200
        ours = {"Cookie": session, "X_Requested_With": "mutualformer", "Origin": f"http://127.0.0.1:{nginx.port}"}
        assert ask(nginx.url + "record", b'{"on": true}', **ours)[0] == 200
        assert recorder.recording
        assert ask(nginx.url + "record", b'{"on": true}', Cookie=session)[0] == 403, "a foreign page's form"
        with urllib.request.urlopen(nginx.url + "frames" + QUERY, timeout=10) as frames:
            assert frames.readline().startswith(b"--mutualformer-frame"), "at once: nginx holds nothing back"


def test_the_drop_page_takes_a_large_picture_and_nothing_reaches_the_disk(tmp_path: Path) -> None:
    seen: list[int] = []
    server = Server("127.0.0.1:0", TOKEN, option="--page")
    DropPage(server, lambda photo, depth: {"notes.txt": str(seen.append(len(photo))).encode()})  # type: ignore[func-returns-value]
    with server, Nginx(server.port, tmp_path) as nginx:
        ours = {"X_Requested_With": "mutualformer", "Authorization": f"Bearer {TOKEN}"}
        assert ask(nginx.url + "predict", bytes(5 << 20), **ours)[0] == 200
        assert ask(nginx.url + "predict", bytes(66 << 20), **ours)[0] == 413
        assert ask(nginx.url + "predict", bytes(5 << 20), X_Requested_With="mutualformer")[0] == 401
    assert seen == [5 << 20]
    assert "buffered to a temporary file" not in (tmp_path / "error.log").read_text()


def test_guesses_through_the_proxy_do_not_hold_up_who_knows_the_token(tmp_path: Path) -> None:
    with Preview("127.0.0.1:0", TOKEN, news) as page, Nginx(page.server.port, tmp_path) as nginx:
        over = threading.Event()

        def guess() -> None:
            while not over.is_set():
                ask(nginx.url + "app.js", Authorization="Bearer wrong wrong")

        threads = [threading.Thread(target=guess) for _ in range(8)]
        for thread in threads:
            thread.start()
        statuses = [ask(nginx.url + "app.js", Authorization=f"Bearer {TOKEN}")[0] for _ in range(20)]
        over.set()
        for thread in threads:
            thread.join(15)
        assert statuses == [200] * 20


def test_foxglove_through_the_proxy(tmp_path: Path) -> None:
    with Running(TOKEN) as running, Nginx(running.server.port, tmp_path) as nginx:
        url = nginx.url.replace("http:", "ws:") + "foxglove"
        assert refusal(url) == 401
        assert asyncio.run(everything(url + QUERY)).data
