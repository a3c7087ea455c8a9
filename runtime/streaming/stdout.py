"""Reserve standard output for JSON lines: what camera SDKs print there, also from native code, goes to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def json_stream() -> Iterator[TextIO]:
    """Yield a text stream to the original standard output; meanwhile file descriptor 1 leads to standard error.

    Where standard output is no file descriptor (captured by a test, or in a notebook), yield ``sys.stdout`` itself.
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
        with contextlib.suppress(OSError, ValueError):  # the reader closed the pipe
            lines.flush()
        with contextlib.suppress(OSError):
            os.dup2(private, 1)
        with contextlib.suppress(OSError, ValueError):
            lines.close()
