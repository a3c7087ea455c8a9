"""Archives whose bytes depend on their content alone: fixed order, times, owners and compressor headers."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from mutualformer.runtime.files import replacing

Files = Mapping[str, bytes]
"""Path inside the archive, with forward slashes → content. ``*.sh`` are made executable."""

SUMS = "SHA256SUMS"


def sums(files: Files) -> bytes:
    """What ``sha256sum -c`` reads: one line per file, sorted by path."""
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def _tar(folder: str, files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{path}")  # a fresh one has time 0, owner 0 and no owner's name
            entry.size = len(files[path])
            entry.mode = 0o755 if path.endswith(".sh") else 0o644
            tar.addfile(entry, io.BytesIO(files[path]))
    return buffer.getvalue()


def write_archive(out: Path, folder: str, files: Files) -> None:
    """Write ``files`` and their SHA256SUMS under ``folder`` into ``out`` (.tar.gz); a whole file or none.

    The same files give the same bytes with the same zlib.
    """
    content = _tar(folder, {**files, SUMS: sums(files)})
    with replacing(out) as beside, open(beside, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            packed.write(content)
