"""Results on disk: JSON and CSV, a whole file or none of it; the habits are those of ``plugins/files.py``."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mutualformer.plugins.files import cache_root, check_writable, naming, replacing, sha256, write_bytes

__all__ = [
    "cache_root",
    "check_writable",
    "naming",
    "reason",
    "replacing",
    "sha256",
    "write_bytes",
    "write_csv",
    "write_json",
]

# What the system's words leave open: what was expected, or what to do.
_REASONS = {
    errno.ENOSPC: "the disk is full; make room or choose another place",
    errno.EDQUOT: "your share of the disk is used up; make room or choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.EEXIST: "there is a file of that name, expected a folder",
    errno.ENOTDIR: "a part of this path is a file, expected folders",
    errno.EISDIR: "there is a folder of that name, expected a file",
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "permission denied: this user may not read or write there",
}


def reason(error: OSError) -> str:
    """Why the system refused, as a clause that says what was expected or what to do; without the file's name."""
    return _REASONS.get(error.errno or 0) or error.strerror or " ".join(map(str, error.args)) or type(error).__name__


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write indented JSON. Raises ValueError for NaN and infinity, which JSON cannot say, and OSError."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))  # paths that are not UTF-8 become JSON's own escapes


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under the first one's keys; ``rows`` is not empty. Raises OSError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
