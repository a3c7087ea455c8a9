"""Frames kept for paused pages, so that what they save and measure is what they show."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mutualformer.runtime.streaming.sinks import Result


class Holds:
    """At most ``most`` moments, each for at most ``seconds``; the oldest goes first. From any thread."""

    def __init__(self, most: int = 8, seconds: float = 1800.0) -> None:
        self._most, self._seconds = most, seconds
        self._kept: OrderedDict[str, tuple[float, dict[int, Result]]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, results: dict[int, Result]) -> str:
        """``results`` by camera; returns the name to ask for them."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._drop_old()
            self._kept[name] = (time.monotonic(), results)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str, camera: int) -> Result | None:
        """What ``camera`` showed at the moment ``name``; None where that is not kept (any more)."""
        with self._lock:
            self._drop_old()
            return self._kept.get(name, (0.0, {}))[1].get(camera)

    def release(self, name: str) -> None:
        """Forget the moment ``name``; one that is not kept is no error."""
        with self._lock:
            self._kept.pop(name, None)

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._seconds
        for name in [name for name, (kept, _) in self._kept.items() if kept < oldest]:
            del self._kept[name]
