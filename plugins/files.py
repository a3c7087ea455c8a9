"""File habits of every stage: hash before trusting, write beside and rename, one folder for what can be made again.

Standard library only: CMake and the plugin's loader use it where nothing is installed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes, read in blocks of 1 MiB. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], temporary: str = "") -> Iterator[None]:
    """An OSError raised inside names ``path``: a full disk names no file, and ``temporary`` says nothing to people."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename) == temporary):
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` on success and vanishes on failure.

    The bytes are on the disk before the name is: after a power cut there is the old file or the new one, whole.
    Makes the folder if needed. Raises OSError, which names ``path``.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        with naming(target, name):
            yield beside
            umask = os.umask(0)
            os.umask(umask)
            beside.chmod(0o666 & ~umask)  # mkstemp makes private files; a result is an ordinary one
            with open(beside, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Before work of minutes: raise now the OSError that writing ``path`` would end it with. Makes the folder."""
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or none of it; a file that holds ``data`` already is left untouched, so builds stay quick."""
    target = Path(path)
    if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
        return
    with replacing(target) as beside:
        beside.write_bytes(data)


def cache_root() -> Path:
    """Where what can be made again is kept: $MUTUALFORMER_CACHE, $XDG_CACHE_HOME/mutualformer, ~/.cache/mutualformer.

    As the XDG specification says, an empty or relative $XDG_CACHE_HOME counts as unset.
    """
    own, shared = os.environ.get("MUTUALFORMER_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own)
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "mutualformer"
