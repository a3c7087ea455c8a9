"""Names for a frame's files: inside the output folder, and different from those of every other frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

UNNAMED = "picture"
ENDINGS = (".png", ".jpg", ".json")  # of output files


def safe_name(name: str) -> str:
    """A frame's name as a relative path that stays inside the output folder.

    Parts such as ``..`` and characters that some file systems refuse become underscores. A folder called like an output
    file gets one at its end: ``shot.png/a`` would be a file inside the mask of ``shot``.
    """
    parts = []
    for part in PurePosixPath(name).parts:
        if not part.strip("/"):
            continue
        clean = "".join("_" if ord(letter) < 32 or letter in '\\:*?"<>|\x7f' else letter for letter in part)
        parts.append("_" * len(clean) if set(clean) <= {"."} else clean)
    folders = [part + "_" * part.lower().endswith(ENDINGS) for part in parts[:-1]]
    return "/".join([*folders, *parts[-1:]]) or UNNAMED


class Names:
    """The names of one run, compared as on a file system that ignores case and Unicode normalisation."""

    def __init__(self, taken: Callable[[str], bool] = lambda name: False) -> None:
        self._given: set[str] = set()
        self._next: dict[str, int] = {}
        self._taken = taken

    def give(self, name: str) -> str:
        """The cleaned name itself the first time; ``NAME-2``, ``NAME-3``, … afterwards."""
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
