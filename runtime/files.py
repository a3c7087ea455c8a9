"""Read and write result files: JSON and CSV, each written completely or not at all (see ``plugins/files.py``)."""

from __future__ import annotations

import csv
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from mutualformer.plugins.files import cache_root as cache_root
from mutualformer.plugins.files import check_writable as check_writable
from mutualformer.plugins.files import naming as naming
from mutualformer.plugins.files import replacing as replacing
from mutualformer.plugins.files import sha256 as sha256
from mutualformer.plugins.files import write_bytes as write_bytes

Key = TypeVar("Key")
WriteRow = Callable[[Mapping[str, Any]], None]

# Clauses that say more than the system's own: what was expected, or what to do.
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
    """The reason of an OSError as a clause that says what was expected or what to do, without the file's name."""
    return _REASONS.get(error.errno or 0) or error.strerror or " ".join(map(str, error.args)) or type(error).__name__


class NotRegular(OSError):
    """The path is a pipe, a device, a socket or a folder: reading it may block for ever or never end."""


class TooLarge(OSError):
    """The file is larger than any file of its kind, sparse files included."""


def open_regular(path: Path, most: int) -> BinaryIO:
    """Open an ordinary file of at most ``most`` bytes for reading, without ever waiting for a writer.

    The open file is examined, not the path, so that a file swapped in between is noticed. Raises NotRegular, TooLarge,
    OSError.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket cannot even be opened
            raise NotRegular(errno.EINVAL, "is a socket or a device, expected a regular file", str(path)) from error
        raise
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise NotRegular(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(errno.EINVAL, "is a pipe or a device, expected a regular file", str(path))
        if status.st_size > most:
            raise _too_large(path, status.st_size, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of an ordinary file of at most ``most``. Raises NotRegular, TooLarge, OSError."""
    with naming(path), open_regular(path, most) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1)
        if len(data) > size:  # the file grows while it is read, or is under /proc, where every size is 0
            data += file.read(most + 1 - len(data))
    if len(data) > most:
        raise _too_large(path, len(data), most)
    return data


def _too_large(path: Path, size: int, most: int) -> TooLarge:
    return TooLarge(errno.EFBIG, f"is too large: {size:,} bytes, expected at most {most:,}", str(path))


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write indented JSON. Raises ValueError for NaN and infinity, which JSON cannot say, and OSError."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))  # paths that are not UTF-8 become JSON's own escapes


def spreadsheet(row: Mapping[Key, Any]) -> dict[Key, Any]:
    """``row`` with an apostrophe before texts that a spreadsheet would run as a formula: names are untrusted."""
    formula = ("=", "+", "-", "@", "\t", "\r")
    return {k: f"'{v}" if isinstance(v, str) and v.startswith(formula) else v for k, v in row.items()}


@contextmanager
def csv_table(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> Iterator[WriteRow]:
    """Yield a function that writes one row of a CSV file; the file is put in place at the end. Raises OSError.

    ``columns``: the header; without them it is the first row's keys. Names that are not UTF-8 keep their bytes.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        if columns:
            writer.writeheader()

        def write(row: Mapping[str, Any]) -> None:
            if not writer.fieldnames:
                writer.fieldnames = list(row)
                writer.writeheader()
            writer.writerow(spreadsheet(row))

        yield write
