"""Attacks on the page's port: floods of connections, slow and invalid requests, guessed tokens, and the log of them."""

from __future__ import annotations

import contextlib
import http.client
import logging
import random
import resource
import socket
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from mutualformer.runtime.preview.connections import Limits
from mutualformer.runtime.preview.live_page import MOST_VIEWERS
from mutualformer.runtime.preview.middleware import Guesses
from mutualformer.runtime.preview.server import ServeError
from mutualformer.runtime.streaming.sinks import Result
from tests.runtime.preview.one_camera import Preview
from tests.runtime.preview.test_server import STAGES, TOKEN, Viewer, ask, news, result

# A request to the page with the right token, to be completed.
OURS = b"POST /release HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: mutualformer\r\n" + (
    f"Authorization: Bearer {TOKEN}\r\n".encode()
)
NONSENSE = 400  # cases of the fuzzer in an ordinary run


@pytest.fixture
def locked() -> Iterator[Preview]:
    with Preview("127.0.0.1:0", TOKEN, news) as page:
        yield page


def connect(page: Preview, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", page.server.port), timeout=5)
    sock.sendall(data)
    return sock


def closed(sock: socket.socket) -> bool:
    """True once the other side has closed."""
    sock.settimeout(0.01)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_thousand_half_open_sockets_do_not_shut_the_page(locked: Preview) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    sockets = []
    try:
        for number in range(1144):
            sockets.append(connect(locked, (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-")[number % 2]))
        began = time.monotonic()
        assert ask(locked, "/", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(locked, "/record", "POST", '{"on": true}', Authorization=f"Bearer {TOKEN}")[0] == 403
        assert time.monotonic() - began < 20
        assert len(locked.server.connections.open) <= Limits().total
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_those_who_watch_are_not_thrown_out_for_a_newcomer() -> None:
    with Preview("127.0.0.1:0", None, news, limits=Limits(total=4)) as page:
        viewer = Viewer(page)
        page.write(result(1))
        time.sleep(0.1)
        sockets = [connect(page) for _ in range(20)]
        time.sleep(0.2)
        page.write(result(2))
        assert int(viewer.part()[0]["x-number"]) >= 1
        assert len(page.server.connections.open) <= 4
        assert sum(map(closed, sockets)) >= 16, "the oldest without a request made room"
        viewer.close()
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: ", b"POST /record HTTP/1.1\r\nHost: localhost\r\n"
                                   b"X-Requested-With: mutualformer\r\nContent-Length: 100\r\n\r\n{"])  # fmt: skip
def test_a_request_that_does_not_come_is_not_waited_for(start: bytes) -> None:
    with Preview("127.0.0.1:0", None, news, limits=Limits(request_s=0.5)) as page:
        sock = connect(page, start)
        began = time.monotonic()
        dripping = time.monotonic()
        while not closed(sock):
            assert time.monotonic() - began < 20
            if start and time.monotonic() - dripping > 0.1:  # a byte now and then does not help
                dripping = time.monotonic()
                with contextlib.suppress(OSError):
                    sock.sendall(b"x")
        assert time.monotonic() - began > 0.4
        sock.close()


def test_a_kept_connection_may_stay_as_long_as_it_asks(locked: Preview) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", locked.server.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/style.css", headers={"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().read()
    connection.close()


def test_events_are_counted_as_viewers_and_capped() -> None:
    with Preview("127.0.0.1:0", None, news) as page:
        viewers = [Viewer(page, "/events") for _ in range(MOST_VIEWERS)]
        assert ask(page, "/events")[0] == 503
        assert page.live.viewers == MOST_VIEWERS
        for viewer in viewers:
            viewer.close()


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost:notaport\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\xfd\r\n\r\n", 401),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: mutualformer_session=\xff\r\n\r\n", 401),
        (b"GET /?token=%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (OURS + b"Content-Length: 2\r\n\r\n\xff\xfe", 400),
        (OURS + b"Content-Type: text/plain; charset=nonsense\r\nContent-Length: 2\r\n\r\n{}", 400),
        (OURS + b"Content-Length: 2\r\n\r\n[]", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_bytes_that_are_no_request_get_a_4xx(
    locked: Preview, request_bytes: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    sock = connect(locked, request_bytes)
    line = sock.recv(4096).split(b"\r\n")[0]
    sock.close()
    assert line.split()[1] == str(code).encode(), line
    assert "Traceback" not in caplog.text


def mutated(rng: random.Random) -> bytes:
    seeds = [
        f"GET /?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nCookie: a=b; c=d\r\n\r\n",
        "GET /mjpeg/rgb?camera=0 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAccept: text/html\r\n\r\n",
        "POST /record HTTP/1.1\r\nHost: [::1]:8080\r\nOrigin: http://[::1]:8080\r\nContent-Length: 12\r\n"
        'X-Requested-With: mutualformer\r\n\r\n{"on": true}',
        "GET /depth?x=0.5&y=nan&hold=%00 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
    ]
    data = bytearray(rng.choice(seeds).encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data))
        action = rng.randrange(4)
        if action == 0:
            data[place] = rng.randrange(256)
        elif action == 1:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        elif action == 2:
            del data[place : place + rng.randint(1, 8)]
            data = data or bytearray(b"x")
        else:
            data[place:place] = data[place : place + 40]
    return bytes(data) + b"\r\n\r\n"


@pytest.mark.parametrize("token", [None, TOKEN])
def test_nonsense_never_makes_a_500(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guesses, "first_s", 0.0)
    rng = random.Random(15)
    with Preview("127.0.0.1:0", token, news) as page:
        for number in range(NONSENSE):
            data = mutated(rng)
            with contextlib.suppress(ConnectionError):
                sock = connect(page, data)
                sock.settimeout(0.5)
                answer = b""
                with contextlib.suppress(TimeoutError):
                    answer = sock.recv(64)
                sock.close()
                assert not answer.startswith(b"HTTP/1.1 5") or b" 503 " in answer, (number, data, answer)
        assert ask(page, "/", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_the_log_is_short_and_holds_no_token(locked: Preview, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(60):
        sock = connect(locked, f"GET /?token={TOKEN} HTTP/9.9 \x1b[31m\r\nHost\r\n\r\n".encode())
        sock.recv(4096)
        sock.close()
    assert TOKEN not in caplog.text
    assert "\x1b" not in caplog.text
    assert len([record for record in caplog.records if record.name.startswith("mutualformer")]) <= 10


@pytest.mark.slow
def test_guessing_becomes_slow_and_whoever_knows_the_token_is_let_in_meanwhile(locked: Preview) -> None:
    answers: list[int] = []
    over = threading.Event()

    def guess(number: int) -> None:
        answers.append(ask(locked, "/app.js", Authorization=f"Bearer wrong number {number}")[0])

    def guess_on() -> None:
        while not over.is_set():
            guess(0)

    began = time.monotonic()
    for number in range(4):
        guess(number)
    assert time.monotonic() - began > 0.25 + 0.5 + 1.0 - 0.1
    threads = [threading.Thread(target=guess_on) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    waits = []
    for _ in range(10):
        began = time.monotonic()
        assert ask(locked, "/app.js", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(locked, "/?token=open%20sesame%20please")[0] == 200
        waits.append(time.monotonic() - began)
    over.set()
    assert statistics.median(waits) < 1.0, "from the same address, and at once"
    for thread in threads:
        thread.join(15)
    assert answers.count(429) >= 6, "the queue is bounded"
    assert set(answers) == {401, 429}


def test_the_session_is_not_the_token_and_names_its_port(locked: Preview) -> None:
    cookie = ask(locked, "/?token=open%20sesame%20please")[1]["set-cookie"]
    assert cookie.startswith(f"mutualformer_session_{locked.server.port}=")
    assert "sesame" not in cookie
    assert "Path" not in cookie, "behind a proxy the browser takes the prefix"
    pair = cookie.split(";")[0]
    assert ask(locked, "/app.js", Cookie=pair)[0] == 200
    assert ask(locked, "/app.js")[0] == 401
    with Preview("127.0.0.1:0", TOKEN, news) as other:
        assert ask(other, "/", Cookie=pair.replace(str(locked.server.port), str(other.server.port)))[0] == 401


@pytest.mark.parametrize(
    "header", ["Forwarded: for=203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: a", "Via: 1.1 proxy"]
)
def test_without_a_token_nobody_comes_through_a_proxy(header: str) -> None:
    name, _, value = header.partition(": ")
    headers = {name.replace("-", "_"): value, "X_Requested_With": "mutualformer"}
    with Preview("127.0.0.1:0", None, news) as page:
        assert ask(page, "/")[0] == 200
        for path, method in (("/", "GET"), ("/snapshot.zip", "GET"), ("/events", "GET"), ("/record", "POST")):
            status, _, text = ask(page, path, method, '{"on": true}' if method == "POST" else None, **headers)
            assert (status, b"--token-file" in text) == (403, True)


def test_the_session_s_cookie_is_secure_where_the_proxy_speaks_tls(locked: Preview) -> None:
    query = "/?token=open%20sesame%20please"
    assert "Secure" in ask(locked, query, X_Forwarded_Proto="https")[1]["set-cookie"]
    assert "Secure" not in ask(locked, query)[1]["set-cookie"]


def test_numbers_that_are_none_do_not_break_the_events() -> None:
    def broken() -> dict[str, object]:
        return {"state": "running", "skew_ms": float("nan"), "deep": [{"x": float("inf")}]}

    with Preview("127.0.0.1:0", None, broken) as page:
        frame = result(3).frame
        wrong = type(frame)(frame.rgb, frame.depth, float("nan"), float("nan"), 3)
        page.write(Result(wrong, {"saliency": np.full((4, 4), np.nan, np.float32)}, STAGES, 3, 0))
        viewer = Viewer(page, "/events")
        lines = [viewer.answer.readline().decode() for _ in range(3)]
        viewer.close()
        assert "NaN" not in lines[1]
        assert "Infinity" not in lines[1]
        assert '"skew_ms": null' in lines[1]
        assert ask(page, "/snapshot.zip")[0] == 200


def test_the_held_moment_is_what_a_paused_page_saves(tmp_path: Path) -> None:
    ours = {"X_Requested_With": "mutualformer"}
    with Preview("127.0.0.1:0", None, news) as page:
        assert ask(page, "/hold", "POST", "{}", **ours)[0] == 404
        page.write(result(5))
        status, headers, data = ask(page, "/hold", "POST", "{}", **ours)
        assert status == 200
        assert b"X-Number: 5" in data
        page.write(result(6))
        name = headers["x-hold"]
        assert 'filename="mutualformer-000005.zip"' in ask(page, f"/snapshot.zip?hold={name}")[1]["content-disposition"]
        assert '"number": 5' in ask(page, f"/depth?x=0.5&y=0.5&hold={name}")[2].decode()
        assert '"number": 6' in ask(page, "/depth?x=0.5&y=0.5")[2].decode()
        assert ask(page, "/release", "POST", f'{{"hold": "{name}"}}', **ours)[0] == 204
        assert ask(page, f"/snapshot.zip?hold={name}")[0] == 410
        for query in ("x=2&y=0", "x=nan&y=0", "x=a&y=0", "y=0"):
            assert ask(page, f"/depth?{query}")[0] == 400
        for camera in ("1", "-1", "²", "x", "99999999999999999999"):
            assert ask(page, f"/depth?x=0&y=0&camera={camera.encode().hex() if camera == '²' else camera}")[0] == 404


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed: no certificate to serve with")
def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Preview("127.0.0.1:0", TOKEN, news, tls=(certificate, key)) as page:
        assert page.server.url().startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("localhost", page.server.port, context=context, timeout=5)
        connection.request("GET", "/?token=open%20sesame%20please")
        answer = connection.getresponse()
        assert answer.status == 200
        assert "Secure" in answer.headers["Set-Cookie"]
        connection.close()
        half_open = [connect(page, b"\x16\x03") for _ in range(200)]  # handshakes that never end are counted too
        time.sleep(0.2)
        assert len(page.server.connections.open) <= Limits().total
        for sock in half_open:
            sock.close()
    with pytest.raises(ServeError, match="expected a certificate and its key in PEM"):
        Preview("127.0.0.1:0", TOKEN, news, tls=(key, certificate))
    with pytest.raises(ServeError, match="No such file"):
        Preview("127.0.0.1:0", TOKEN, news, tls=(tmp_path / "none", key))
