"""Turn the exceptions of other libraries on bad input into one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

LONGEST = 300  # characters of a foreign message that are passed on


def reason(error: BaseException) -> str:
    """First line of a foreign error with its class; OpenCV's ``err`` without the file and line of its source."""
    text = str(getattr(error, "err", "") or error).strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:LONGEST]}" if first else type(error).__name__


@contextlib.contextmanager
def foreign(library: str, error: type[Exception], where: str, remedy: str = "") -> Iterator[None]:
    """Whatever ``library`` raises inside becomes ``error("WHERE: LIBRARY cannot … ; REMEDY")``; ours pass as they are.

    MemoryError counts too: sizes were checked beforehand, so a corrupt file misled the library. KeyboardInterrupt and
    SystemExit pass.
    """
    try:
        yield
    except error:
        raise
    except Exception as cause:  # a dozen unrelated families: cv2.error, RuntimeError, struct.error, MemoryError, …
        ending = f"; {remedy}" if remedy else ""
        raise error(f"{where}: {library} cannot read it ({reason(cause)}){ending}") from cause
