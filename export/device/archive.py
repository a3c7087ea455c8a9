"""Writes archives whose bytes depend on their content alone: order, times, owners and gzip header are fixed."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from mutualformer.export.errors import ExportError
from mutualformer.runtime.files import replacing

Files = Mapping[str, bytes]
"""Path inside the archive, with forward slashes → content. ``*.sh`` are made executable."""

SUMS = "SHA256SUMS"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_LONGEST = 240  # characters of a path: file systems allow 255 for a name, the rest is left for the folder above


def check_member(path: str) -> None:
    """Raise ExportError for a path that leaves the archive's folder, is hidden, or has a shell's special characters."""
    parts = path.split("/")
    if len(path) > _LONGEST or not all(_PART.fullmatch(part) for part in parts):
        raise ExportError(
            f"archive member {path[:200]!r} is refused: each part of a path must be letters, digits and ._+-, not "
            f"begin with one of the signs, and all together at most {_LONGEST} characters"
        )


def sums(files: Files) -> bytes:
    """The content of SHA256SUMS, for ``sha256sum -c``: one line per file, sorted by path."""
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def _tar(folder: str, files: Files) -> bytes:
    for path in (folder, *files):
        check_member(path)
    if "/" in folder:
        raise ExportError(f"archive folder {folder!r} is refused: expected one folder")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{path}")  # a fresh one has time 0, owner 0 and no owner's name
            entry.size = len(files[path])
            entry.mode = 0o755 if path.endswith(".sh") else 0o644
            tar.addfile(entry, io.BytesIO(files[path]))
    return buffer.getvalue()


def write_archive(out: Path, folder: str, files: Files) -> None:
    """Write ``files`` and their SHA256SUMS under ``folder`` into ``out`` (.tar.gz), whole or not at all.

    The same files give the same bytes with the same zlib. Raises ExportError for unsafe names before it writes.
    """
    content = _tar(folder, {**files, SUMS: sums(files)})
    with replacing(out) as beside, open(beside, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            packed.write(content)
