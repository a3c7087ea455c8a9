"""Keeps standard output for our JSON lines: what camera SDKs print there, from native code too, goes to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def json_stream() -> Iterator[TextIO]:
    """A text stream that is standard output as it was; meanwhile file descriptor 1 leads to standard error.

    Where standard output is no file descriptor (captured by a test, or inside a notebook) it is given as it is.
    """
    stream = sys.stdout
    try:
        if stream.fileno() != 1:
            raise OSError("standard output was replaced")
        stream.flush()
        private = os.dup(1)
    except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
        yield stream
        return
    os.dup2(2, 1)
    lines = os.fdopen(private, "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield lines
    finally:
        with contextlib.suppress(OSError, ValueError):  # a reader that left early has what it wanted
            lines.flush()
        with contextlib.suppress(OSError):
            os.dup2(private, 1)
        with contextlib.suppress(OSError, ValueError):
            lines.close()
