"""A live page with one camera and its server, as most tests want it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutualformer.runtime.preview.channel import Play
from mutualformer.runtime.preview.connections import Limits
from mutualformer.runtime.preview.live_page import LivePage
from mutualformer.runtime.preview.server import Server
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import Result


class Preview:
    """Use it as a context manager; ``channel`` is the camera's sink."""

    def __init__(
        self,
        address: str,
        token: str | None,
        snapshot: Callable[[], dict[str, Any]],
        recorder: Recorder | None = None,
        play: Play | None = None,
        *,
        tls: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.server = Server(address, token, tls=tls, limits=limits)
        self.live = LivePage(self.server)
        self.channel = self.live.add(snapshot, recorder, play)

    def write(self, result: Result) -> None:
        self.channel.write(result)

    def __enter__(self) -> Preview:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()
