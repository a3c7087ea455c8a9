"""The page in every state it can be in, on a desk and on a phone: true, not clipped, and axe finds nothing."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import Frame, Item
from mutualformer.runtime.sources.playing import FramesCamera, PlayOptions
from mutualformer.runtime.streaming.capture import Opener, Retry
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.pictures import decode_picture
from tests.runtime.fakes import FakeSession
from tests.runtime.preview.nginx import Nginx, needs_nginx
from tests.runtime.preview.one_camera import Preview
from tests.runtime.preview.stage import DESK, PHONE, Stage, look, scene, scripted, vanishing, violations
from tests.runtime.preview.webdriver import CHROMIUM, DRIVER, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="Chromium and chromedriver are not installed (apt install chromium-driver)",
    ),
]
TOKEN = "correct horse battery"
MOVING: Opener = lambda: opening.camera("synthetic://?fps=20&size=320x240")  # noqa: E731
TEXT = "return document.getElementById(arguments[0]).textContent"


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[list[Stage]]:
    opened: list[Stage] = []
    yield opened
    for stage in opened:
        stage.close()


def text(browser: Browser, element: str) -> str:
    return str(browser.run(TEXT, element))


def moving(browser: Browser, url: str) -> None:
    browser.open("about:blank")
    browser.console()  # what earlier pages left
    browser.open(url)
    browser.until("return Number(document.body.dataset.frames) > 5 && Number(document.body.dataset.events) > 4")
    browser.until("return document.getElementById('state').textContent === 'running'")


def press(browser: Browser, key: str) -> None:
    browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key)


def pause(browser: Browser) -> None:
    """The page asks the server to hold the moment it shows, and may get a newer one with the answer, however late."""
    press(browser, "p")
    browser.until("return document.getElementById('state').textContent === 'paused'")
    browser.until("return Boolean(document.body.dataset.hold)")


def numbers(browser: Browser) -> list[str]:
    """Everything on the page that is a measurement."""
    return [text(browser, name) for name in ("seen", "now-latency", "now-fps", "now-drops", "facts")]


def test_live(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    moving(browser, stages[0].url)
    look(browser, "live", tmp_path)
    assert violations(browser) == []
    names = browser.run(
        "return [...document.querySelectorAll('canvas')].map((c) => c.getAttribute('aria-label') || '')"
    )
    assert len(names) >= 8
    assert all(names), "every canvas has a name"
    assert " m" in text(browser, "scale-near")
    browser.viewport(*DESK)
    for element in ("plot-latency", "plot-fps", "plot-drops", "pause", "snapshot"):
        bottom = browser.run("return document.getElementById(arguments[0]).getBoundingClientRect().bottom", element)
        assert bottom <= DESK[1], f"{element} is above the fold"
    assert browser.console() == []


def test_paused_freezes_numbers_with_the_picture_and_the_snapshot_is_of_it(
    browser: Browser, tmp_path: Path, stages: list[Stage]
) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    moving(browser, stages[0].url)
    # The page's downloads, caught.
    browser.run("window.saved = []; const make = URL.createObjectURL;"
                "URL.createObjectURL = (blob) => { window.saved.push(blob); return make(blob); };")  # fmt: skip
    pause(browser)
    before, picture = numbers(browser), browser.run("return document.getElementById('rgb').toDataURL()")
    time.sleep(1.0)
    assert numbers(browser) == before, "numbers are those of the picture"
    assert browser.run("return document.getElementById('rgb').toDataURL()") == picture
    browser.run("document.getElementById('snapshot').click()")
    browser.until("return window.saved.length === 1")
    browser.run(
        "window.data = null; window.saved[0].arrayBuffer().then((b) => {"
        "window.data = btoa(String.fromCharCode(...new Uint8Array(b).slice(0, 60000))); window.size = b.byteLength; });"
    )
    browser.until("return window.data !== null")
    # What the page shows and what it saved are one frame: compare with the held frame itself.
    held = next(iter(stages[0].page.live._held.values()))[0]
    shown = browser.run(
        "const c = document.getElementById('rgb'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let s = 0; for (let i = 0; i < d.length; i += 4) s += d[i] + d[i + 1] + d[i + 2];"
        "return s / (d.length / 4) / 3;"
    )
    assert shown == pytest.approx(float(held.frame.rgb.mean()), abs=1.5)
    distance = text(browser, "seen")
    assert distance.startswith("object at ") or "the nearest at " in distance
    look(browser, "paused", tmp_path)
    assert violations(browser) == []
    browser.run("document.getElementById('pause').click()")
    browser.until("return document.getElementById('state').textContent === 'running'")
    browser.until("return !document.querySelector('.camera').classList.contains('old')")


def test_recording_tells_its_time_and_the_room_left(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    moving(browser, stages[0].url)
    browser.run("document.getElementById('record').click()")
    browser.until("return /Recording 0:0[1-9] .* free/.test(document.getElementById('tape').textContent)")
    browser.until("return document.getElementById('facts').textContent.includes('Free disk')")
    look(browser, "recording", tmp_path)
    assert violations(browser) == []
    browser.run("document.getElementById('recordings').open = true")
    browser.until("return document.querySelectorAll('#recordings a').length === 1")
    look(browser, "recordings", tmp_path)
    erase = "window.confirm = () => true; document.querySelector('#recordings button').click()"
    browser.run(erase)
    browser.until("return document.getElementById('notice').textContent.includes('still being recorded')")
    browser.run("document.getElementById('record').click()")
    browser.until("return document.getElementById('record').textContent === 'Record'")
    stages[0].recorders[0].close()
    browser.run(erase)
    browser.until("return document.querySelector('#recordings li').textContent === 'none yet'")
    browser.run("document.getElementById('record').click()")
    browser.until("return /Recording 0:0[1-9] .* free/.test(document.getElementById('tape').textContent)")
    # A paused page still tells how long the recording runs.
    browser.run("document.getElementById('pause').click()")
    tape = text(browser, "tape")
    browser.until(f"return document.getElementById('tape').textContent !== {tape!r}")


def test_a_lost_camera_has_no_distance(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [vanishing(60)], retry=Retry(attempts=3, first_s=0.3, most_s=0.3)))
    browser.open(stages[0].url)
    browser.until("return document.getElementById('state').textContent.startsWith('reconnecting (')")
    assert text(browser, "seen") == ""
    assert text(browser, "now-latency") == "–"
    assert "Camera lost" in text(browser, "veil")
    browser.until("return document.getElementById('state').textContent.startsWith('camera lost: ')")
    assert text(browser, "seen") == ""
    assert browser.run("return document.querySelector('.camera').classList.contains('old')")
    look(browser, "lost", tmp_path)
    assert violations(browser) == []


def test_the_last_picture_of_a_recording_stays_also_after_the_server_is_gone(browser: Browser, tmp_path: Path) -> None:
    stage = Stage(tmp_path, [scripted(lambda k: scene(k) if k < 50 else None, live=False)])
    browser.open(stage.url)
    browser.until("return Number(document.body.dataset.frames) > 3")
    for thread in stage.threads:
        thread.join(10)
    browser.until("return document.getElementById('state').textContent === 'ended: the recording is over'")
    browser.until("return document.getElementById('moment').textContent === 'frame 49'")
    assert "object" in text(browser, "seen")
    assert not browser.run("return document.querySelector('.camera').classList.contains('old')")
    assert browser.run("return document.getElementById('pause').hidden")
    assert text(browser, "now-fps") == "–", "nothing moves, so nothing is measured"
    look(browser, "ended", tmp_path)
    assert violations(browser) == []
    last = browser.run("return document.getElementById('rgb').toDataURL()")
    press(browser, "ArrowLeft")
    browser.until(f"return document.getElementById('rgb').toDataURL() !== {last!r}")
    press(browser, "ArrowRight")
    browser.until(f"return document.getElementById('rgb').toDataURL() === {last!r}")
    stage.close()
    time.sleep(1.5)
    assert text(browser, "state") == "ended: the recording is over"
    assert browser.run("return document.getElementById('rgb').toDataURL()") == last


def number(browser: Browser) -> int:
    return int(text(browser, "moment").removeprefix("frame "))


def test_a_recording_pauses_where_it_is_and_steps(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [scripted(scene, live=False)]))
    moving(browser, stages[0].url)
    assert browser.run("return document.getElementById('timeline').hidden")
    browser.run("document.getElementById('pause').click()")
    browser.until("return document.getElementById('state').textContent === 'paused'")
    browser.until("return !document.getElementById('timeline').hidden")
    time.sleep(0.5)
    first, processed = number(browser), stages[0].pipelines[0].telemetry.frames
    assert processed == first + 1, "the source itself waits"
    browser.run("document.getElementById('forward').click()")
    browser.until(f"return document.getElementById('moment').textContent === 'frame {first + 1}'")
    assert stages[0].pipelines[0].telemetry.frames == processed + 1
    look(browser, "recording-paused", tmp_path)
    assert violations(browser) == []
    browser.run("document.getElementById('back').click()")
    browser.until(f"return document.getElementById('moment').textContent !== 'frame {first + 1}'")
    browser.run("const t = document.getElementById('time'); t.value = 0; t.dispatchEvent(new Event('input'));")
    browser.until("return document.getElementById('back').disabled")
    assert number(browser) < first
    assert stages[0].pipelines[0].telemetry.frames == processed + 1
    browser.run("document.getElementById('snapshot').click()")
    assert "newest picture" in text(browser, "notice")
    browser.run("document.getElementById('pause').click()")
    browser.until("return document.getElementById('state').textContent === 'running'")
    browser.until("return document.getElementById('timeline').hidden")


class Scenes:
    """Files by number."""

    has_depth = True

    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> Item:
        frame = scene(index)
        return Item(frame.rgb, frame.depth, None, f"{index}")


def test_a_file_goes_where_its_time_line_is_moved_also_after_its_end(
    browser: Browser, tmp_path: Path, stages: list[Stage]
) -> None:
    stages.append(Stage(tmp_path, [lambda: FramesCamera(Scenes(), PlayOptions(fps=20, rate=1), "file")]))
    stages[0].pipelines[0].capture.stays = True
    choose = (
        "const e = document.getElementById(arguments[0]);"
        "e.value = arguments[1]; e.dispatchEvent(new Event(arguments[2]));"
    )
    moving(browser, stages[0].url)
    assert not browser.run("return document.getElementById('timeline').hidden")
    browser.run(choose, "time", "1000", "input")
    browser.run(choose, "time", "1000", "change")
    browser.until("return document.getElementById('state').textContent === 'ended: the recording is over'")
    browser.until("return document.getElementById('moment').textContent === '100 %'")
    look(browser, "ended-file", tmp_path)
    assert violations(browser) == []
    browser.run(choose, "rate", "0.25", "change")
    browser.run(choose, "time", "500", "input")
    browser.run(choose, "time", "500", "change")
    browser.until("return document.getElementById('state').textContent === 'running'")
    browser.run("document.getElementById('pause').click()")
    browser.until("return document.getElementById('state').textContent === 'paused'")
    assert 45 < int(text(browser, "moment").removesuffix(" %")) < 100
    assert stages[0].pipelines[0].snapshot()["rate"] == 0.25
    browser.run(choose, "time", "0", "input")
    browser.until("return document.getElementById('moment').textContent === '0 %'")
    # It runs for the one frame of the new place; a busy machine lets the page see that.
    browser.until("return document.getElementById('state').textContent === 'paused'")
    assert text(browser, "state") == "paused"


def test_a_paused_page_goes_back_among_the_pictures_it_got(
    browser: Browser, tmp_path: Path, stages: list[Stage]
) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    moving(browser, stages[0].url)
    pause(browser)
    held, picture = number(browser), browser.run("return document.getElementById('rgb').toDataURL()")
    press(browser, "ArrowLeft")
    browser.until(f"return document.getElementById('rgb').toDataURL() !== {picture!r}")
    assert number(browser) < held
    press(browser, "d")
    browser.until("return document.getElementById('marks').dataset.distance === '–'")
    press(browser, "ArrowRight")
    browser.until(f"return document.getElementById('rgb').toDataURL() === {picture!r}")
    assert number(browser) == held
    press(browser, "p")
    browser.until("return document.getElementById('timeline').hidden")


def test_without_connection_nothing_old_is_told(browser: Browser, tmp_path: Path) -> None:
    stage = Stage(tmp_path, [MOVING])
    moving(browser, stage.url)
    stage.page.__exit__()  # the server is gone while the stream runs
    browser.until("return document.getElementById('state').textContent === 'no connection, retrying'")
    assert text(browser, "seen") == ""
    assert "No connection" in text(browser, "veil")
    look(browser, "no-connection", tmp_path)
    stage.end()


def test_a_wrong_token_and_the_form(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING], token=TOKEN))
    url = stages[0].url
    browser.open(url)
    look(browser, "token", tmp_path)
    assert violations(browser) == []
    enter = (
        "document.getElementById('token').value = arguments[0];"
        "document.querySelector('button').click();"  # submits as a person does
    )
    browser.run(enter, "not the right one")
    browser.until("return document.getElementById('problem').textContent === 'token missing or wrong'")
    look(browser, "wrong-token", tmp_path)
    browser.run(enter, TOKEN)
    browser.until("return Number(document.body.dataset.frames) > 3")
    assert browser.run("return document.cookie") == ""
    browser.open(url)
    browser.until("return Number(document.body.dataset.frames) > 3")


def test_two_streams_of_one_host_do_not_take_each_other_s_session(
    browser: Browser, tmp_path: Path, stages: list[Stage]
) -> None:
    stages += [Stage(tmp_path / "a", [MOVING], token=TOKEN), Stage(tmp_path / "b", [MOVING], token=TOKEN + " two")]
    for stage, token in zip(stages, (TOKEN, TOKEN + " two"), strict=True):
        browser.open(stage.url + "?token=" + token.replace(" ", "%20"))
        browser.until("return Number(document.body.dataset.frames) > 2")
    browser.open(stages[0].url)
    browser.until("return Number(document.body.dataset.frames) > 2")


class Link(BaseHTTPRequestHandler):
    """A page of another site with one link."""

    target = ""

    def do_GET(self) -> None:
        page = f'<!doctype html><title>elsewhere</title><a id="link" href="{self.target}">the camera</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None: ...


def test_links_from_another_site_open_the_page(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING], token=TOKEN))
    server = HTTPServer(("127.0.0.1", 0), Link)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for query in ("?token=correct%20horse%20battery", ""):  # the second time the session is there
            Link.target = stages[0].url + query
            browser.open(f"http://localhost:{server.server_port}/")  # to the browser another site than 127.0.0.1
            browser.run("document.getElementById('link').click()")
            browser.until("return location.hostname === '127.0.0.1'")
            browser.until("return Number((document.body || {dataset: {}}).dataset.frames) > 3")
            assert browser.run("return location.search") == ""
    finally:
        server.shutdown()
        server.server_close()


@needs_nginx
def test_behind_a_proxy_with_a_prefix(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING], token=TOKEN))
    with Nginx(stages[0].page.server.port, tmp_path) as nginx:
        moving(browser, nginx.url + "?token=correct%20horse%20battery")
        assert browser.run("return location.pathname + location.search") == "/cam1/"
        browser.run("document.getElementById('record').click()")
        browser.until("return document.getElementById('record').textContent === 'Stop recording'")
        look(browser, "proxy", tmp_path)
        assert browser.console() == []


def test_two_cameras(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING, vanishing(80)], retry=Retry(attempts=2, first_s=0.2, most_s=0.2)))
    moving(browser, stages[0].url)
    assert browser.run("return document.querySelectorAll('.camera').length") == 2
    browser.until("return document.getElementById('overlay-1').width === 160")
    assert text(browser, "title").startswith("synthetic")
    assert text(browser, "title-1") == "scripted://"
    look(browser, "two-cameras", tmp_path)
    assert violations(browser) == []
    browser.until("return document.getElementById('veil-1').textContent.startsWith('Camera lost')", 20)
    assert text(browser, "state") == "running", "the chosen camera is well"
    assert "object" in text(browser, "seen")
    assert text(browser, "seen-1") == ""
    browser.run("document.getElementById('title-1').click()")
    browser.until("return document.getElementById('state').textContent.startsWith('camera lost')")
    assert text(browser, "now-fps") == "–"
    look(browser, "two-cameras-one-lost", tmp_path)
    browser.run("document.getElementById('record').click()")
    end = time.monotonic() + 5
    while not all(recorder.recording for recorder in stages[0].recorders) and time.monotonic() < end:
        time.sleep(0.05)
    assert all(recorder.recording for recorder in stages[0].recorders), "one button for both"


def test_views_keys_and_the_distance_under_a_click(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    moving(browser, stages[0].url)
    browser.viewport(*DESK)
    pause(browser)
    hashes = {}
    for key, mode in zip("12345", ("overlay", "cutout", "mask", "contour", "side"), strict=True):
        press(browser, key)
        assert browser.run("return document.querySelector('#modes input:checked').value") == mode
        hashes[mode] = browser.run("return document.getElementById('overlay').toDataURL()")
        look(browser, f"view-{mode}", tmp_path)
    assert len(set(hashes.values())) == 5
    assert browser.run("return document.getElementById('overlay').width") == 640, "side by side is twice as wide"
    press(browser, "1")
    browser.viewport(*DESK)
    left, top, width, height = browser.run(
        "const r = document.getElementById('marks').getBoundingClientRect(); return [r.left, r.top, r.width, r.height]"
    )
    x, y = round(left + 0.25 * width), round(top + 0.75 * height)
    browser.click(x, y)
    browser.until("return document.getElementById('marks').dataset.distance !== undefined")
    held = next(iter(stages[0].page.live._held.values()))[0]
    column, row = int((x - left) / width * 320), int((y - top) / height * 240)
    near = held.frame.depth[row - 2 : row + 3, column - 2 : column + 3]
    expected = f"{float(np.median(near[near > 0])):.2f} m" if (near > 0).any() else "no depth here"
    assert browser.run("return document.getElementById('marks').dataset.distance") == expected
    look(browser, "distance", tmp_path, [DESK])
    press(browser, "Escape")
    assert browser.run("return document.getElementById('marks').dataset.distance") is None
    press(browser, "b")
    assert not browser.run("return document.getElementById('boxes').checked")


def test_the_snapshot_is_aligned_and_full_size(tmp_path: Path, stages: list[Stage]) -> None:
    stages.append(Stage(tmp_path, [MOVING]))
    end = time.monotonic() + 10
    while stages[0].page.channel.latest is None and time.monotonic() < end:
        time.sleep(0.05)
    with urlopen(stages[0].url + "snapshot.zip", timeout=10) as answer:
        archive = zipfile.ZipFile(BytesIO(answer.read()))
    images = {
        name: decode_picture(archive.read(name), cv2.IMREAD_UNCHANGED)
        for name in archive.namelist()
        if name.endswith(".png")
    }
    assert {name: image.shape for name, image in images.items()} == {
        "rgb.png": (240, 320, 3),
        "depth_mm.png": (240, 320),
        "mask.png": (240, 320),
        "cutout.png": (240, 320, 4),
        "overlay.png": (240, 320, 3),
        "saliency.png": (60, 80),
    }
    # FakeSession's map is the red channel: a mask that is aligned follows it.
    red, mask = images["rgb.png"][..., 2].astype(float), images["mask.png"].astype(float)
    assert np.corrcoef(red.ravel(), mask.ravel())[0, 1] > 0.95
    alpha = images["cutout.png"][..., 3].astype(float)  # finished: what is sure is opaque
    assert alpha[mask > 170].mean() > 240
    assert alpha[mask < 60].mean() < 15


def test_identities_are_named_and_infrared_is_shown(browser: Browser, tmp_path: Path) -> None:
    pipeline = Pipeline(
        lambda: opening.camera("synthetic://?fps=20&size=160x120&nir=1"),
        FakeSession(task="reid"),
        match=lambda feature: ("anna\x1b[31m \u202e", 0.876),
    )
    with Preview("127.0.0.1:0", None, pipeline.snapshot) as page:
        pipeline.sinks.append(SinkRunner(page.channel, latest=True))
        thread = threading.Thread(target=pipeline.run)
        thread.start()
        try:
            moving(browser, page.server.url())
            assert text(browser, "seen") == "anna\\x1b[31m \\u202e (0.88)", "an untrusted label, escaped"
            assert text(browser, "second-name") == "Near infrared"
            assert browser.run("return document.getElementById('scale').hidden")
            assert browser.run("return document.getElementById('record').hidden"), "nothing records here"
        finally:
            pipeline.stop()
            thread.join(10)


def test_without_depth_the_page_says_so(browser: Browser, tmp_path: Path, stages: list[Stage]) -> None:
    def blind(index: int) -> Frame:
        frame = scene(index)
        return replace(frame, depth=np.zeros_like(frame.depth))

    stages.append(Stage(tmp_path, [scripted(blind)]))
    browser.open(stages[0].url)
    browser.until("return Number(document.body.dataset.frames) > 3")
    browser.until("return document.getElementById('state').textContent === 'running, no depth'")
    assert browser.run("return document.getElementById('second').clientWidth") == 0, "no black tile"
    look(browser, "colour-only", tmp_path)
    assert text(browser, "seen").endswith("no depth there")
    assert browser.run("return document.getElementById('scale').hidden")


def test_pages_that_come_and_go_leave_no_threads(browser: Browser, tmp_path: Path) -> None:
    before = threading.active_count()
    stage = Stage(tmp_path, [MOVING])
    moving(browser, stage.url)
    browser.viewport(*PHONE, touch=True)
    stage.close()
    assert threading.active_count() == before
