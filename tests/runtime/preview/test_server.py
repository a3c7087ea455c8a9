"""The page's server without a browser: who gets in, what it forbids, slow and vanished clients, what it costs."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mutualformer.runtime.images.objects import find_objects
from mutualformer.runtime.preview.encode import Encoder
from mutualformer.runtime.preview.live_page import MOST_VIEWERS
from mutualformer.runtime.preview.server import ServeError
from mutualformer.runtime.sources import opening
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result
from tests.pictures import decode_picture
from tests.runtime.fakes import make_frame
from tests.runtime.preview.one_camera import Preview

STAGES = dict.fromkeys(("capture", "wait", "pre", "infer", "post", "total"), 0.001)
TOKEN = "open sesame please"


def result(number: int) -> Result:
    saliency = np.full((24, 32), 0.75, np.float32)
    frame = make_frame(number)
    return Result(frame, {"saliency": saliency}, STAGES, number, 0, objects=find_objects(saliency, None)[0])


def news() -> dict[str, Any]:
    return {"state": "running", "processed": 3}


@pytest.fixture
def page() -> Iterator[Preview]:
    with Preview("127.0.0.1:0", None, news) as opened:
        yield opened


@pytest.fixture
def locked() -> Iterator[Preview]:
    with Preview("127.0.0.1:0", TOKEN, news) as opened:
        yield opened


def ask(
    page: Preview, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.server.port, timeout=5)
    connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, data


def test_a_taken_port_is_one_sentence(page: Preview) -> None:
    with pytest.raises(ServeError, match="choose another port"), Preview(f"127.0.0.1:{page.server.port}", None, news):
        pass


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/frames", "/mjpeg/rgb", "/events", "/snapshot.zip"])
def test_every_route_needs_the_token(locked: Preview, path: str) -> None:
    assert ask(locked, path)[0] == 401
    assert ask(locked, path, Authorization=f"Bearer {TOKEN}x")[0] == 401
    assert ask(locked, path, Cookie="mutualformer_token=wrong")[0] == 401
    assert ask(locked, "/record", "POST", '{"on": true}', X_Requested_With="mutualformer")[0] == 401


def test_the_token_is_taken_from_header_cookie_or_query(locked: Preview) -> None:
    assert ask(locked, "/app.js", Authorization=f"Bearer {TOKEN}")[0] == 200
    status, headers, body = ask(locked, "/?token=open%20sesame%20please")
    assert status == 200, "a page that leads on, since browsers keep a strict cookie back from a redirect"
    assert "url=./" in body.decode(), "relative: behind a proxy the page has a prefix"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ask(locked, "/", Cookie=cookie.split(";")[0])[0] == 200
    assert ask(locked, "/style.css?token=open%20sesame%20please")[0] == 200
    assert TOKEN not in locked.server.url()


def test_every_answer_carries_the_security_headers(page: Preview, locked: Preview) -> None:
    for status, headers, _ in (ask(page, "/"), ask(page, "/nothing"), ask(locked, "/"), ask(page, "/record", "POST")):
        assert status in (200, 401, 403, 404)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
    text = b"".join(ask(page, path)[2] for path in ("/", "/app.js", "/style.css"))
    assert b"http://" not in text
    assert b"https://" not in text


def test_foreign_hosts_and_pages_are_refused(page: Preview) -> None:
    assert ask(page, "/", Host="evil.example:80")[0] == 403, "DNS rebinding"
    assert ask(page, "/", Host=f"localhost:{page.server.port}")[0] == 200
    good = {"X_Requested_With": "mutualformer"}
    assert ask(page, "/record", "POST", '{"on": true}')[0] == 403
    assert ask(page, "/record", "POST", '{"on": true}', Origin="http://evil.example", **good)[0] == 403
    assert ask(page, "/record", "POST", '{"on": true}', Origin=f"http://127.0.0.1:{page.server.port}", **good)[0] == 409


def test_the_record_switch(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, on=False)
    with Preview("127.0.0.1:0", None, news, recorder) as page:
        good = {"X_Requested_With": "mutualformer"}
        assert json.loads(ask(page, "/record", "POST", '{"on": true}', **good)[2]) == {"recording": True}
        assert recorder.recording
        for body in ('{"on": 1}', "{", "[]", ""):
            assert ask(page, "/record", "POST", body, **good)[0] == 400
        assert ask(page, "/record", "POST", '{"on": false}', **good)[0] == 200
        assert not recorder.recording
        assert ask(page, "/record", "GET")[0] == 405


def test_recordings_are_listed_and_downloaded_and_nothing_else(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "20261128-101500").mkdir(parents=True)
    data = bytes(range(256)) * 1000
    (made / "20261128-101500" / "part-0000.mcap").write_bytes(data)
    (made / "20261128-101500" / "notes.txt").write_text("mine")
    (tmp_path / "secret").write_text("mine")
    with Preview("127.0.0.1:0", None, news, Recorder(made, on=False)) as page:
        listed = json.loads(ask(page, "/recordings")[2])
        assert listed["free_bytes"] > 1 << 20
        assert listed["files"] == [{"name": "0/20261128-101500/part-0000.mcap", "bytes": len(data)}]
        status, headers, body = ask(page, "/recordings/0/20261128-101500/part-0000.mcap")
        assert (status, body) == (200, data)
        assert 'filename="20261128-101500-part-0000.mcap"' in headers["content-disposition"]
        for name in ("0/20261128-101500/notes.txt", "0/../../secret", "0/%2e%2e/%2e%2e/secret", "1/x/part-0000.mcap"):
            assert ask(page, f"/recordings/{name}")[0] == 404
    with Preview("127.0.0.1:0", None, news) as page:
        assert json.loads(ask(page, "/recordings")[2])["files"] == []


def test_the_page_gets_every_object_with_its_distance() -> None:
    saliency, depth = np.zeros((120, 160), np.float32), np.full((120, 160), 4, np.float32)
    true = {(20, 20): 1.33, (60, 70): 1.36, (30, 120): 2.81}
    for (top, left), metres in true.items():
        saliency[top : top + 30, left : left + 30], depth[top : top + 30, left : left + 30] = 1, metres
    with Preview("127.0.0.1:0", None, news) as page:
        page.write(replace(result(0), objects=find_objects(saliency, depth)[0]))
        viewer = Viewer(page)
        headers = viewer.part()[0]
        while headers["x-final"] == "0":
            headers = viewer.part()[0]
        seen = json.loads(headers["x-seen"])
        viewer.close()
    assert [one["distance_m"] for one in seen["objects"]] == [pytest.approx(one, rel=0.02) for one in true.values()]
    assert seen["nearest_object_m"] == pytest.approx(1.33, rel=0.02)


def test_recordings_are_deleted_but_for_the_one_being_written(tmp_path: Path) -> None:
    recorder, good = Recorder(tmp_path), {"X_Requested_With": "mutualformer"}
    (tmp_path / "20261128-101500").mkdir()
    for name in ("part-0000.mcap", "part-0001.mcap", "notes.txt"):
        (tmp_path / "20261128-101500" / name).write_text("mine")
    with Preview("127.0.0.1:0", None, news, recorder) as page:
        recorder.open(opening.camera("synthetic://"))
        recorder.write(result(0))
        assert recorder.writing is not None
        for name, status in (("0/20261128-101500", 204), (f"0/{recorder.writing.name}", 409), ("0/..", 404), ("", 404)):
            assert ask(page, "/erase", "POST", json.dumps({"name": name}), **good)[0] == status
        assert ask(page, "/erase", "POST", '{"name": "0/x"}')[0] == 403
        assert [path.name for path in (tmp_path / "20261128-101500").iterdir()] == ["notes.txt"]
        recorder.close()
        name = json.dumps({"name": f"0/{Path(recorder.path).name}"})
        assert ask(page, "/erase", "POST", name, **good)[0] == 204
        assert not Path(recorder.path).exists()


def test_play_counts_frames_goes_to_a_position_and_sets_a_speed() -> None:
    played: list[tuple[float, float | None, float | None]] = []
    good = {"X_Requested_With": "mutualformer"}
    with Preview("127.0.0.1:0", None, news, None, lambda *wish: played.append(wish)) as page:
        for body in ('{"frames": 0}', '{"frames": 1, "position": 0.5}', '{"rate": 2}', "{}"):
            assert ask(page, "/play", "POST", body, **good)[0] == 204
        endless = float("inf")
        assert played == [(0, None, None), (1, 0.5, None), (endless, None, 2), (endless, None, None)]
        for body in ('{"frames": -1}', '{"frames": 0.5}', '{"position": 1.1}', '{"rate": -1}', "[]"):
            assert ask(page, "/play", "POST", body, **good)[0] == 400


class Viewer:
    """Reads a multipart stream part by part."""

    def __init__(self, page: Preview, path: str = "/frames") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", page.server.port, timeout=5)
        self._connection.request("GET", path)
        self.answer = self._connection.getresponse()

    def part(self) -> tuple[dict[str, str], bytes]:
        assert self.answer.readline().startswith(b"--")
        headers = {}
        while (line := self.answer.readline().strip()) != b"":
            key, _, value = line.decode().partition(": ")
            headers[key.lower()] = value
        data = self.answer.read(int(headers["content-length"]))
        assert self.answer.readline() == b"\r\n"
        return headers, data

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def feed(page: Preview, stop: threading.Event, period: float = 0.03) -> threading.Thread:
    def run() -> None:
        number = 0
        while not stop.wait(period):
            page.write(result(number))
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def fed(page: Preview) -> Iterator[Preview]:
    stop = threading.Event()
    thread = feed(page, stop)
    yield page
    stop.set()
    thread.join()


def test_the_page_gets_all_views_of_one_frame_together(fed: Preview) -> None:
    viewer = Viewer(fed)
    assert viewer.answer.headers["Content-Type"].startswith("multipart/x-mixed-replace; boundary=")
    numbers = []
    for _ in range(5):
        parts = [viewer.part() for _ in range(3)]
        assert [head["x-view"] for head, _ in parts] == ["rgb", "depth", "saliency"]
        assert [head["x-final"] for head, _ in parts] == ["0", "0", "1"]
        assert len({head["x-number"] for head, _ in parts}) == 1
        numbers.append(int(parts[0][0]["x-number"]))
        shapes = [decode_picture(data, cv2.IMREAD_UNCHANGED).shape for _, data in parts]
        assert shapes == [(48, 64, 3), (48, 64, 3), (24, 32)]
    assert numbers == sorted(set(numbers))
    viewer.close()


def test_plain_mjpeg_for_other_tools(fed: Preview) -> None:
    viewer = Viewer(fed, "/mjpeg/saliency")
    heads = [viewer.part()[0]["x-view"] for _ in range(3)]
    assert heads == ["saliency"] * 3
    viewer.close()
    assert ask(fed, "/mjpeg/secrets")[0] == 404


def test_nothing_is_encoded_while_nobody_watches(page: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Counting(Encoder):
        def __call__(self, item: Result) -> dict[str, bytes]:
            calls.append(item.number)
            return super().__call__(item)

    monkeypatch.setattr(page.channel, "encode", Counting())
    for number in range(5):
        page.write(result(number))
    assert calls == []
    viewer = Viewer(page)
    time.sleep(0.1)
    page.write(result(7))
    assert viewer.part()[0]["x-number"] == "7"
    viewer.close()
    end = time.monotonic() + 3
    while page.live.viewers and time.monotonic() < end:  # the server notices when it next writes
        page.write(result(8 + len(calls)))
        time.sleep(0.05)
    assert page.live.viewers == 0


def test_a_client_that_stops_reading_slows_neither_the_stream_nor_the_others(page: Preview) -> None:
    stuck = socket.create_connection(("127.0.0.1", page.server.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b"GET /frames HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    time.sleep(0.1)
    other = Viewer(page)
    worst = 0.0
    numbers: list[int] = []
    for number in range(120):
        began = time.monotonic()
        page.write(result(number))
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.03)
    page.write(result(500))
    while not numbers or numbers[-1] != 500:
        numbers.append(int(other.part()[0]["x-number"]))
    assert worst < 5, "the stuck client would hold it for ever"
    assert len(set(numbers)) > 40
    other.close()
    stuck.close()


def test_there_is_a_limit_on_viewers(fed: Preview) -> None:
    viewers = [Viewer(fed) for _ in range(MOST_VIEWERS)]
    assert ask(fed, "/frames")[0] == 503
    for viewer in viewers:
        viewer.close()


def test_events_are_server_sent_json(fed: Preview) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fed.server.port, timeout=5)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    lines = [answer.readline().decode() for _ in range(6)]
    messages = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert len(messages) == 2
    assert messages[1]["state"] == "running"
    assert messages[1]["seen"]["objects"][0]["box"] == [0, 0, 1, 1]
    answer.close()
    connection.close()


def test_the_snapshot_is_lossless(page: Preview) -> None:
    assert ask(page, "/snapshot.zip")[0] == 404
    shot = result(11)
    page.write(shot)
    status, headers, data = ask(page, "/snapshot.zip")
    assert status == 200
    assert "attachment" in headers["content-disposition"]
    archive = zipfile.ZipFile(io.BytesIO(data))
    rgb = decode_picture(archive.read("rgb.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(rgb[..., ::-1], shot.frame.rgb)
    depth = decode_picture(archive.read("depth_mm.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(depth, np.rint(shot.frame.depth * 1000).astype(np.uint16))
    assert json.loads(archive.read("frame.json"))["sequence"] == 11


def test_holes_are_black_and_near_is_warm() -> None:
    depth = np.full((80, 80), 4.0, np.float32)
    depth[:40] = 0.5
    depth[:, :8] = 0
    colours = Encoder().depth_colours(depth)
    assert np.all(colours[:, :8] == 0)
    near, far = colours[20, 40].astype(int), colours[60, 40].astype(int)  # red, green, blue
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_closing_with_viewers_is_quick() -> None:
    page = Preview("127.0.0.1:0", None, news)
    with page:
        viewers = [Viewer(page), Viewer(page, "/events")]
        page.write(result(1))
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert not any(thread.name == "preview" and thread.is_alive() for thread in threading.enumerate())
    for viewer in viewers:
        viewer.close()
