"""Target: what a client may send to the page. The server answers with a status below 500, hangs up, and goes on."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.preview.connections import Limits
from mutualformer.runtime.streaming.recorder import Recorder
from tests.fuzz.campaign import Target
from tests.runtime.preview.one_camera import Preview

SECONDS = 10.0  # a case that gets no end of its answer in this time is a failure
BUSY = 503  # what the server says where more clients watch than it serves
WORDS = (b"\r\n", b": ", b"Content-Length: 99999999999", b"Transfer-Encoding: chunked", b"GET", b"POST", b"HTTP/1.1",
         b"%00", b"../", b"{", b'{"on":', b"X-Requested-With: mutualformer", b"Upgrade: websocket", b"\x00",
         b"Range: bytes=0-", b"X-Forwarded-For: 1.2.3.4", b"Host: x")  # fmt: skip
HEAD = "Host: 127.0.0.1\r\nConnection: close\r\n"
ASKED = ("/", "/palette.json", "/snapshot.zip", "/depth?x=3&y=4", "/recordings", "/recordings/x", "/nothing")
TOLD = {
    "/record": {"on": False}, "/play": {"frames": 1, "position": 0.5, "rate": 2}, "/hold": {"camera": 0},
    "/release": {"camera": 0}, "/erase": {"name": "0/x"},
}  # fmt: skip


class Refused(Exception):
    """The server answered with a status of 400 to 499, or closed the connection."""


@functools.lru_cache(maxsize=1)
def page(folder: Path) -> Preview:
    """A page without a token, which runs as long as the process; its recorder is off."""
    limits = Limits(request_s=0.2)
    served = Preview("127.0.0.1:0", None, lambda: {"state": "running"}, Recorder(folder, on=False), limits=limits)
    served.__enter__()
    return served


def seeds(folder: Path) -> Sequence[bytes]:
    """One request of every kind."""
    asked = [f"GET {path} HTTP/1.1\r\n{HEAD}\r\n" for path in ASKED]
    for path, value in TOLD.items():
        body = json.dumps(value)
        more = f"X-Requested-With: mutualformer\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        asked.append(f"POST {path} HTTP/1.1\r\n{HEAD}{more}\r\n{body}")
    return [text.encode() for text in asked]


def run(data: bytes, folder: Path) -> None:
    """Send ``data`` as a client's whole talk. Raises Refused, AssertionError for a fault of the server."""
    server = page(Path("/nonexistent")).server
    with socket.create_connection((server.host, server.port), SECONDS) as connection:
        try:
            connection.sendall(data)
            answer = connection.recv(1 << 16)
        except TimeoutError:
            raise AssertionError("the server neither answers nor hangs up") from None
        except OSError as error:
            raise Refused from error
    if not answer:
        raise Refused
    status = int(answer.split(b" ", 2)[1])
    assert status < 500 or status == BUSY, answer[:200]
    if status >= 400:
        raise Refused


def targets() -> tuple[Target, ...]:
    """For tests/fuzz/__main__.py."""
    return (Target("page-request", seeds, run, (Refused,), WORDS),)
