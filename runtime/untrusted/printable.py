"""Escape what would move the cursor, change colours or reverse text when an untrusted name is printed."""

from __future__ import annotations

import unicodedata

# Separators that break a line without being control characters.
_BREAKS = "\u2028\u2029"


def printable(text: str) -> str:
    """``text`` with every control, format, surrogate and unassigned character escaped (``\\x1b``, ``\\u202e``).

    The name of a device, a topic or a file may hold terminal escapes, which printed raw could rewrite the screen or
    type answers. Letters of any language pass unchanged.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    steers = unicodedata.category(character)[0] == "C" or character in _BREAKS
    return character.encode("unicode_escape").decode() if steers else character
