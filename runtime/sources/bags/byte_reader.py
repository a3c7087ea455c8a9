"""Takes little values out of bytes that strangers wrote: every step is checked against what is there."""

from __future__ import annotations

import struct
from typing import Any


class BytesError(ValueError):
    """The bytes end too soon or say something that cannot be."""


class ByteReader:
    """Values one after the other, little endian unless ``big``; each aligned to its size if ``aligned`` (CDR)."""

    def __init__(self, data: bytes | memoryview, *, aligned: bool = False, big: bool = False) -> None:
        self._data, self._at, self._aligned = memoryview(data), 0, aligned
        self._order = ">" if big else "<"

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self._data) - self._at

    def take(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """``count`` values of one struct letter, for example ``I`` or ``d``. Raises BytesError."""
        width = struct.calcsize(f"<{kind}")
        if self._aligned:
            self._at += -self._at % width
        return struct.unpack(f"{self._order}{count}{kind}", self.raw(count * width))

    def one(self, kind: str) -> Any:
        """One value of struct format ``kind``. Raises BytesError where too few bytes are left."""
        return self.take(kind)[0]

    def raw(self, size: int) -> memoryview:
        """The next ``size`` bytes, not copied. Raises BytesError."""
        if size < 0 or self._at + size > len(self._data):
            raise BytesError(f"{size} bytes expected where {max(0, self.left)} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self, *, terminated: bool = False) -> str:
        """A string behind its 32-bit length; ``terminated``: the length counts a closing zero byte."""
        data = bytes(self.raw(self.one("I")))
        return (data[:-1] if terminated else data).decode("utf-8", "replace")

    def blob(self) -> memoryview:
        """Bytes behind their 32-bit length."""
        return self.raw(self.one("I"))

    def pairs(self) -> dict[str, str]:
        """MCAP's map of strings: the size of all in bytes, then key and value in turn."""
        inside = ByteReader(self.blob())
        values: dict[str, str] = {}
        while inside.left > 0:
            key = inside.text()
            values[key] = inside.text()
        return values
