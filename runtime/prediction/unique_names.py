"""What the files of a frame are called: inside the output folder, and never as those of another frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

UNNAMED = "picture"


def safe_name(name: str) -> str:
    """A frame's name as a relative path that stays inside the output folder.

    Parts that would climb out, and the characters that no file system takes, become underscores.
    """
    parts = []
    for part in PurePosixPath(name).parts:
        if not part.strip("/"):
            continue
        clean = "".join("_" if ord(letter) < 32 or letter in '\\:*?"<>|\x7f' else letter for letter in part)
        parts.append("_" * len(clean) if set(clean) <= {"."} else clean)
    return "/".join(parts) or UNNAMED


class Names:
    """The names of one run. Cleaned first and compared as a disk does that ignores case and spelling of accents."""

    def __init__(self, taken: Callable[[str], bool] = lambda name: False) -> None:
        self._given: set[str] = set()
        self._next: dict[str, int] = {}
        self._taken = taken

    def give(self, name: str) -> str:
        """The name itself, cleaned, to the first who asks; ``NAME-2``, ``NAME-3``, … to others."""
        clean = safe_name(name)
        candidate, key = clean, _key(clean)
        while key in self._given or self._taken(candidate):
            number = self._next[_key(clean)] = self._next.get(_key(clean), 1) + 1
            candidate = f"{clean}-{number}"
            key = _key(candidate)
        self._given.add(key)
        return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
