"""Hands frames from the capture thread to inference: the newest one (live) or a short queue (files)."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands items from one thread to another.

    ``lossless=False``: one slot; a new item replaces one that was not taken, which counts in ``dropped``. So a slow
    reader never gets an old frame. ``lossless=True``: ``capacity`` items in order, ``put`` waits.
    """

    def __init__(self, lossless: bool, capacity: int = 4) -> None:
        self.lossless = lossless
        self.dropped = 0
        self._capacity = capacity if lossless else 1
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T, timeout: float | None = None) -> bool:
        """False where the mailbox was closed, or where a lossless one had no room within ``timeout`` seconds."""
        with self._changed:
            if self.lossless:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity, timeout)
                if not self._closed and len(self._items) >= self._capacity:
                    return False
            elif self._items:
                self._items.clear()
                self.dropped += 1
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T | None:
        """The next item; None when none came within ``timeout`` seconds, or none will come (:attr:`finished`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """No more ``put``; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def finished(self) -> bool:
        """Closed and empty."""
        with self._changed:
            return self._closed and not self._items
