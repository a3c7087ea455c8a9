"""The real page in a real browser: it moves, charts, blends, pauses, records, asks for the token, and reconnects."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession, ScriptedCamera, lose, make_frame
from tests.runtime.preview.one_camera import Preview
from tests.runtime.preview.webdriver import CHROMIUM, DRIVER, Browser

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="Chromium and chromedriver are not installed (apt install chromium-driver)",
)

# Mean and checksum of a canvas's pixels.
PIXELS = """
const canvas = document.getElementById(arguments[0]);
const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
let sum = 0, hash = 0;
for (let i = 0; i < data.length; i += 4) { sum += data[i]; hash = (hash * 31 + data[i] + 7 * data[i + 1]) | 0; }
return [sum / (data.length / 4), hash, canvas.width, canvas.height];
"""


class Live:
    """A stream with its page, until closed."""

    def __init__(self, folder: Path, token: str | None = None, port: int = 0) -> None:
        self.recorder = Recorder(folder, on=False)
        self.pipeline = Pipeline(
            lambda: opening.camera("synthetic://?fps=20&size=160x120"), FakeSession(0.005, size=(60, 80))
        )
        self.page = Preview(f"127.0.0.1:{port}", token, self.pipeline.snapshot, self.recorder)
        self.pipeline.sinks += [SinkRunner(self.recorder), SinkRunner(self.page.channel, latest=True)]
        self.page.__enter__()
        self.thread = threading.Thread(target=self.pipeline.run)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.page.server.port}/"

    def close(self) -> None:
        self.pipeline.stop()
        self.thread.join(10)
        self.page.__exit__()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    stream = Live(tmp_path)
    yield stream
    stream.close()


def frames(browser: Browser) -> int:
    return int(browser.run("return document.body.dataset.frames"))


def slide(browser: Browser, value: int) -> None:
    browser.run(
        "const s = document.getElementById('opacity'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));",
        value,
    )


def test_pictures_move_charts_update_and_nothing_is_fetched_elsewhere(browser: Browser, live: Live) -> None:
    browser.open(live.url)
    browser.until("return Number(document.body.dataset.frames) > 5")
    first = {name: browser.run(PIXELS, name) for name in ("rgb", "second", "overlay")}
    assert first["rgb"][2:] == [160, 120]
    assert all(pixels[0] > 1 for pixels in first.values()), "no canvas is black"
    seen = frames(browser)
    browser.until(f"return Number(document.body.dataset.frames) > {seen + 10}")
    for name, pixels in first.items():
        assert browser.run(PIXELS, name)[1] != pixels[1], f"{name} does not move"
    ink = (
        "const c = document.getElementById('chart-' + arguments[0]);"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((s, v) => s + v, 0);"
    )
    charts = {name: browser.run(ink, name) for name in ("latency", "fps", "drops")}
    events = browser.run("return Number(document.body.dataset.events)")
    browser.until(f"return Number(document.body.dataset.events) > {events + 6}")
    for name, before in charts.items():
        assert browser.run(ink, name) != before, f"the {name} chart does not move"
    assert browser.run("return document.getElementById('state').textContent") == "running"
    assert "ms" in browser.run("return document.getElementById('now-latency').textContent")
    assert "fake fp32" in browser.run("return document.getElementById('facts').textContent")
    hosts = browser.run("return performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
    assert set(hosts) == {f"127.0.0.1:{live.page.server.port}"}
    assert browser.console() == []


def test_the_opacity_slider_changes_the_overlay_s_pixels_even_while_paused(browser: Browser, live: Live) -> None:
    browser.open(live.url)
    browser.until("return Number(document.body.dataset.frames) > 3")
    browser.run("document.getElementById('pause').click()")
    time.sleep(0.3)
    still = frames(browser)
    slide(browser, 0)
    plain, colour = browser.run(PIXELS, "overlay"), browser.run(PIXELS, "rgb")
    assert plain[1] == colour[1], "without overlay it is the colour picture"
    levels = []
    for value in (25, 50, 100):
        slide(browser, value)
        levels.append(browser.run(PIXELS, "overlay")[0])
    assert plain[0] < levels[0] < levels[1] < levels[2], "more opacity, more red"
    assert browser.run("return document.getElementById('percent').textContent") == "100 %"
    time.sleep(0.5)
    assert frames(browser) == still, "paused"
    browser.run("document.getElementById('pause').click()")
    browser.until(f"return Number(document.body.dataset.frames) > {still + 3}")


def test_the_record_button_records(browser: Browser, live: Live) -> None:
    browser.open(live.url)
    browser.until("return Number(document.body.dataset.events) > 1")
    browser.run("document.getElementById('record').click()")
    browser.until("return document.getElementById('record').textContent === 'Stop recording'")
    browser.until("return document.getElementById('facts').textContent.includes('Recording')")
    time.sleep(0.5)
    browser.run("document.getElementById('record').click()")
    browser.until("return document.getElementById('record').textContent === 'Record'")
    time.sleep(0.2)
    assert len(list(opening.camera(live.recorder.path))) >= 5


def test_the_token_opens_the_page_and_leaves_the_address_bar(browser: Browser, tmp_path: Path) -> None:
    live = Live(tmp_path, token="correct horse battery")
    try:
        browser.open(live.url + "?token=wrong%20horse%20battery")
        assert "token missing or wrong" in browser.run("return document.body.textContent")
        assert browser.run("return performance.getEntriesByType('navigation')[0].responseStatus") == 401
        browser.open(live.url + "?token=correct%20horse%20battery")
        browser.until("return Number(document.body.dataset.frames) > 3")
        assert browser.run("return location.href") == live.url
        assert browser.run("return document.cookie") == "", "scripts cannot read the token"
    finally:
        live.close()


def test_a_dropped_stream_recovers_by_itself(browser: Browser, tmp_path: Path) -> None:
    live = Live(tmp_path / "a")
    port = live.page.server.port
    browser.open(live.url)
    browser.until("return Number(document.body.dataset.frames) > 3")
    live.close()
    browser.until("return document.body.dataset.link === 'reconnecting'", 8)
    assert "good" not in browser.run("return document.getElementById('state').className")
    seen = frames(browser)
    again = Live(tmp_path / "b", port=port)
    try:
        browser.until(f"return Number(document.body.dataset.frames) > {seen + 3}", 12)
        events = browser.run("return Number(document.body.dataset.events)")
        browser.until(f"return Number(document.body.dataset.events) > {events}", 8)
        assert browser.run("return document.body.dataset.link") == "live"
    finally:
        again.close()


def test_a_lost_camera_is_told_in_its_own_words(browser: Browser) -> None:
    opened: list[ScriptedCamera] = []

    def opener() -> ScriptedCamera:
        if opened:
            raise CameraError("scripted://: no such camera")
        opened.append(ScriptedCamera(lambda k: make_frame(k) if k < 60 else lose(), live=True, fps=30))
        return opened[-1]

    pipeline = Pipeline(opener, retry=Retry(attempts=100, first_s=0.2, most_s=0.5))
    with Preview("127.0.0.1:0", None, pipeline.snapshot) as page:
        pipeline.sinks.append(SinkRunner(page.channel, latest=True))
        thread = threading.Thread(target=pipeline.run)
        thread.start()
        try:
            browser.open(page.server.url())
            browser.until("return document.getElementById('state').textContent.startsWith('reconnecting (')")
            browser.until("return document.getElementById('state').textContent.includes('no such camera')")
            assert "bad" in browser.run("return document.getElementById('state').className")
        finally:
            pipeline.stop()
            thread.join(10)


def test_it_fits_a_phone(live: Live) -> None:
    phone = Browser(width=500, height=900)  # the narrowest window desktop Chromium opens
    try:
        phone.open(live.url)
        phone.until("return Number(document.body.dataset.frames) > 2")
        assert phone.run("return document.documentElement.scrollWidth <= window.innerWidth")
        wide = phone.run("return document.getElementById('overlay').clientWidth / window.innerWidth")
        assert wide > 0.9, "the overlay takes the whole width"
        height = phone.run("return document.getElementById('record').clientHeight")
        assert height >= 38, "buttons are big enough for a thumb"
    finally:
        phone.close()
