"""The kernels that TensorRT-RTX compiled for this GPU, kept in a file beside the engine for the next start.

The file begins with a hash over its content, its engine and the GPU, and is ignored where that does not match. Losing
it costs only the time to compile the kernels again.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from mutualformer.runtime.files import read_regular, write_bytes
from mutualformer.runtime.session.base import LARGEST_MODEL

log = logging.getLogger("mutualformer")

_DIGEST = 32  # bytes of a sha256


class RuntimeCache:
    """``X.engine`` → ``X.engine.cache``. Has no effect before :meth:`attach`, which only TensorRT-RTX needs."""

    def __init__(self, engine: Path, engine_sha256: str, gpu: str) -> None:
        self.path = engine.with_name(engine.name + ".cache")
        self._owner = f"{engine_sha256} {gpu}".encode()
        self._cache: Any = None
        self._stored = b""

    def attach(self, config: Any) -> None:
        """Give ``config`` (an IRuntimeConfig) one cache for all its execution contexts, and fill it from the file."""
        self._cache = config.create_runtime_cache()
        self._stored = self._read()
        if self._stored and not self._cache.deserialize(self._stored):
            log.info("%s: TensorRT-RTX does not take these compiled kernels; compiling them again", self.path)
            self._stored = b""
        config.set_runtime_cache(self._cache)

    def _seal(self, content: bytes) -> bytes:
        return hashlib.sha256(self._owner + content).digest()

    def _read(self) -> bytes:
        try:
            data = read_regular(self.path, LARGEST_MODEL)
        except OSError:
            return b""
        content = data[_DIGEST:]
        if data[:_DIGEST] != self._seal(content):
            log.info("%s: made for another engine or GPU, or corrupt; compiling the kernels again", self.path)
            return b""
        return content

    def save(self) -> None:
        """Write newly compiled kernels; a folder without write permission is no error."""
        if self._cache is None:
            return
        content = bytes(self._cache.serialize())
        if content and content != self._stored:
            try:
                write_bytes(self.path, self._seal(content) + content)
                self._stored = content
            except OSError as error:
                log.info("%s: compiled kernels cannot be kept (%s)", self.path, error.strerror)

    def detach(self) -> None:
        """Drop the reference to TensorRT's object, which must be destroyed before the engine."""
        self._cache = None
