"""Files as every stage handles them: hashes, atomic writes, temporary folders, JSON with limits, the cache's folder.

Standard library only: CMake and the plugin's loader use it where no package is installed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_JSON = 4 << 20  # bytes, thirty times as many in memory; an engine's card with all layers has one million
DEEPEST_JSON = 64  # levels of nesting; our files have eight
LONGEST_NUMBER = 64  # characters: parsing an integer takes time with the square of its length


_MARK, _FOLDER = "part-", "mutualformer-tmp-"
_LEFT = re.compile(rf"\..+\.{_MARK}[a-z0-9_]{{8}}(\..*)?|{_FOLDER}[a-z0-9_]{{8}}")
_YOUNG_SECONDS = 60.0  # a younger temporary file may not be locked yet
_swept: set[Path] = set()


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes, read in blocks of 1 MiB. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], temporary: str = "") -> Iterator[None]:
    """Name ``path`` in an OSError raised inside that names no file (a full disk does not) or the ``temporary`` one."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename) == temporary):
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which is renamed to ``path`` on success and removed on failure.

    It syncs the bytes before the rename, so that after a power cut either the old or the new file is there, whole. It
    creates the folder and removes temporary files of killed programs. Raises OSError, which names ``path``.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem[:32]}.{_MARK}", suffix=target.suffix)
    beside = Path(name)
    try:
        _lock(handle)
        with naming(target, name):
            yield beside
            umask = os.umask(0)
            os.umask(umask)
            beside.chmod(0o666 & ~umask)  # mkstemp makes private files; a result is an ordinary one
            with open(beside, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(beside, target)
    finally:
        os.close(handle)
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch(root: Path | None = None) -> Iterator[Path]:
    """A temporary folder inside the ``with``, in ``root`` or where the system has its own; removes those of killed
    programs first. It may be renamed away. Raises OSError."""
    sweep(root or Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=root, ignore_cleanup_errors=True) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            _lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    """Lock the file until this process and its children have closed it; the system unlocks it if they are killed."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path) -> None:
    """Remove our temporary files and folders whose program was killed; once per process and ``folder``."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        names = [entry.path for entry in os.scandir(folder) if _LEFT.fullmatch(entry.name)]
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(name)
                if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_SECONDS:
                    continue
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while another process holds it
                    shutil.rmtree(name) if stat.S_ISDIR(status.st_mode) else os.unlink(name)
                finally:
                    os.close(handle)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing ``path`` would raise, before minutes of work. Creates the folder."""
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
    """Write a file whole or not at all. A file that holds ``data`` already keeps its time, for incremental builds."""
    target = Path(path)
    if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
        return
    with replacing(target) as beside:
        beside.write_bytes(data)


def parse_json(text: str | bytes, where: str = "this text", error: type[Exception] = ValueError) -> Any:
    """The JSON value of untrusted ``text``. `make lint` refuses any other parser of JSON.

    Raises ``error``, naming ``where``, for invalid JSON (NaN, infinity and duplicate keys are invalid), and beyond
    4 MiB, 64 levels of nesting or 64 digits of an integer, which take disproportionate time, stack or memory.
    """
    if len(text) > LARGEST_JSON:
        raise error(f"{where}: is {len(text) >> 20} MiB of JSON, expected at most {LARGEST_JSON >> 20}")

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON number")

    def whole(digits: str) -> int:
        return int(digits) if len(digits) <= LONGEST_NUMBER else refuse(digits[:20] + "…")

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits[:20])

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"key {twice[:80]!r} is there twice")
        return values

    try:
        value = json.loads(  # noqa: TID251 - this is the reader
            text, parse_constant=refuse, parse_int=whole, parse_float=number, object_pairs_hook=unique
        )
        level = [value]
        for _ in range(DEEPEST_JSON):
            level = [
                child
                for item in level
                if isinstance(item, (dict, list))
                for child in (item.values() if isinstance(item, dict) else item)
            ]
        if level:
            raise ValueError(f"it nests deeper than {DEEPEST_JSON} levels")
        return value
    except RecursionError as cause:
        raise error(f"{where}: not JSON (it nests deeper than {DEEPEST_JSON} levels)") from cause
    except ValueError as cause:
        raise error(f"{where}: not JSON ({str(cause)[:200]})") from cause


def plain(data: Any) -> Any:
    """``data`` as it comes back from a JSON file: tuples become lists, keys text."""
    return json.loads(json.dumps(data))  # noqa: TID251 - our own text


def cache_root() -> Path:
    """The cache's folder: $MUTUALFORMER_CACHE, $XDG_CACHE_HOME/mutualformer, ~/.cache/mutualformer.

    As the XDG specification says, an empty or relative $XDG_CACHE_HOME counts as unset.
    """
    own, shared = os.environ.get("MUTUALFORMER_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own)
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "mutualformer"
