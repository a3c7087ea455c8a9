"""A stream with its page for the browser tests, and how the page is looked at: sizes, clipping, accessibility."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mutualformer.runtime.sources.base import CameraError
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.capture import Opener, Retry
from mutualformer.runtime.streaming.pipeline import Pipeline
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner
from tests.runtime.fakes import FakeSession, ScriptedCamera, lose, make_frame
from tests.runtime.preview.one_camera import Preview
from tests.runtime.preview.webdriver import Browser

DESK, PHONE = (1440, 900), (390, 844)


class Stage:
    """Streams ``openers`` with one page until closed; a camera that fails ends only its own stream."""

    def __init__(
        self,
        folder: Path,
        openers: Sequence[Opener],
        token: str | None = None,
        port: int = 0,
        retry: Retry | None = None,
    ) -> None:
        session = FakeSession(0.005, size=(60, 80))
        self.pipelines = [Pipeline(opener, session, retry=retry) for opener in openers]
        self.recorders = [Recorder(folder / str(k), on=False) for k in range(len(openers))]
        self.page = Preview(
            f"127.0.0.1:{port}", token, self.pipelines[0].snapshot, self.recorders[0], self.pipelines[0].capture.play
        )
        channels = [self.page.channel]
        pairs = zip(self.pipelines[1:], self.recorders[1:], strict=True)
        channels += [
            self.page.live.add(pipeline.snapshot, recorder, pipeline.capture.play) for pipeline, recorder in pairs
        ]
        for pipeline, recorder, channel in zip(self.pipelines, self.recorders, channels, strict=True):
            pipeline.sinks += [SinkRunner(recorder), SinkRunner(channel, latest=True)]
        self.page.__enter__()
        self.threads = [threading.Thread(target=self._run, args=(pipeline,)) for pipeline in self.pipelines]
        for thread in self.threads:
            thread.start()
        self.url = f"http://127.0.0.1:{self.page.server.port}/"

    @staticmethod
    def _run(pipeline: Pipeline) -> None:
        with contextlib.suppress(CameraError):  # a lost camera: the page says so
            pipeline.run()

    def end(self) -> None:
        """Stop the cameras; the page stays."""
        for pipeline, thread in zip(self.pipelines, self.threads, strict=True):
            if thread.is_alive():
                pipeline.stop()
            thread.join(10)

    def close(self) -> None:
        self.end()
        self.page.__exit__()


def scripted(script: Callable[[int], Frame | None], *, live: bool = True, fps: float = 20.0) -> Opener:
    """Opens a camera of 160×120 that follows ``script``."""
    return lambda: ScriptedCamera(script, live=live, fps=fps)


def scene(index: int) -> Frame:
    return make_frame(index, (120, 160))


def vanishing(after: int) -> Opener:
    """A camera that is lost for good after so many frames."""
    opened: list[int] = []

    def opener() -> ScriptedCamera:
        opened.append(1)
        if len(opened) > 1:
            return ScriptedCamera(lose, live=True)
        return ScriptedCamera(lambda k: scene(k) if k < after else lose(), live=True, fps=20)

    return opener


# Elements wider than what shows of them, or beyond the window's edge: [tag#id.class, text].
CLIPPED = """
const out = [];
for (const e of document.querySelectorAll('body *')) {
  if (!e.getClientRects().length || e.closest('legend, #modes input')) continue;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const wide = e.scrollWidth > e.clientWidth + 1 && style.overflowX !== 'visible' && e.clientWidth > 1;
  if (wide || box.right > innerWidth + 1 || box.left < -1)
    out.push([`${e.tagName}#${e.id}.${e.className}`, (e.textContent || '').trim().slice(0, 60)]);
}
return out;
"""


def look(browser: Browser, name: str, folder: Path, sizes: Sequence[tuple[int, int]] = (DESK, PHONE)) -> None:
    """At each size: nothing is clipped or beyond the edge; a screenshot for people's eyes.

    ``MUTUALFORMER_SCREENSHOTS`` names a folder that keeps the pictures.
    """
    kept = Path(os.environ.get("MUTUALFORMER_SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    for width, height in sizes:
        browser.viewport(width, height, touch=width < 600)
        browser.run("window.scrollTo(0, 0)")
        browser.until(f"return innerWidth === {width}")
        (kept / f"{name}-{width}.png").write_bytes(browser.screenshot())
        assert browser.run("return document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
        assert browser.run(CLIPPED) == [], f"{name} at {width}×{height}"


def axe_script() -> str:
    """axe-core's source out of the package axe-core-python; skips the test without it."""
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is not installed (pip install axe-core-python)")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser) -> list[Any]:
    """What axe finds on the page as it is: rule and elements."""
    browser.run(axe_script() + ";window.axe = axe || window.axe; return true;")
    browser.run("window.found = null; axe.run(document).then((r) => { window.found = r.violations; });")
    browser.until("return window.found !== null", 30)
    return list(
        browser.run("return window.found.map((v) => [v.id, v.nodes.map((n) => n.target.join(' ')).join(', ')])")
    )
