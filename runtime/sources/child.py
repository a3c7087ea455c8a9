"""Runs a source in a process of its own, with limits of memory, time and disk: for readers that are not ours.

Readers of bags, databases, videos and SDKs get untrusted files. A reader that hangs, crashes or takes all memory
ends only its own process (:mod:`child_process`), and the parent raises in bounded time. A message between the two is
the length of a JSON object, the object, and after it the bytes of the arrays that it names. The parent's are lines of
JSON: what to open, then wishes to seek and to play at another speed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import mutualformer
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.frame import Frame, Intrinsics
from mutualformer.runtime.untrusted.typed_json import parse_json

MODULE = "mutualformer.runtime.sources.child_process"
ERRORS = {error.__name__: error for error in (CameraError, CameraLost)}
# The child multiplies no matrices, and each thread of a pool would take its share of the memory allowed.
THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
LENGTH = struct.Struct("<I")
MOST_HEADER = 1 << 20
ARRAYS: dict[str, tuple[type[np.generic], int]] = {"rgb": (np.uint8, 3), "depth": (np.float32, 1), "nir": (np.uint8, 3)}


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``start``: to import and open, plus the file's size / ``bytes_per_s``. ``frame``: to the next frame
    while the parent waits for it."""

    start: float = 30.0
    frame: float = 20.0
    bytes_per_s: float = 20e6


class ChildCamera(BaseCamera):
    """``module``: of this package, whose ``open_source(target, query)`` runs in the child.

    Raises what that one raises, and CameraError (CameraLost of a live camera) where the child hangs, crashes, takes too
    much memory or dies. ``name``: of the source until it is open, in messages.
    """

    def __init__(
        self, module: str, target: str, query: Mapping[str, Any], name: str, timeouts: Timeouts | None = None
    ) -> None:
        super().__init__(name, live=False)
        self._timeouts = timeouts or Timeouts()
        self._lock = threading.Lock()
        # The child's temporary files go here, so that they are removed even where it is killed.
        self._scratch = tempfile.TemporaryDirectory(prefix="mutualformer-")
        # The child must import this very package, also from a checkout that is not installed.
        paths = [str(Path(mutualformer.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # native libraries print a line for every broken picture
            bufsize=0,
            env={**os.environ, **THREADS, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": self._scratch.name},
            start_new_session=True,  # Ctrl-C is the parent's to act upon
        )
        try:
            # Not among the arguments, which every user of the machine can see: an address may hold a password.
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.write(json.dumps([module, target, dict(query), name]).encode() + b"\n")
            # Readers without an index search the whole file before the first frame, so a large file may take longer to
            # open.
            limit = self._timeouts.start + bytes_of(Path(target)) / self._timeouts.bytes_per_s
            if not self._arrives(limit):
                self._lose(f"its reader could not open it within {limit:.0f} s and was ended")
            about = self._take("open")
        except BaseException:
            self.close()
            raise
        self.name, self.live = about["name"], about["live"]
        self._adopt(about)
        self.seekable, self.rate = about["seekable"], about["rate"]
        self._waiting: float | None = None
        self._over = False
        self._wish: list[Any] = [0, None, self.rate]  # number of the last seek, its position, rate

    def _adopt(self, facts: dict[str, Any]) -> None:
        lens = facts["intrinsics"]
        self.intrinsics = Intrinsics.from_json(lens) if lens is not None else None
        self.depth_scale = facts["depth_scale"]
        self.first_reason = facts["first_reason"]
        for sentence in facts["warnings"]:
            self.warn(sentence)

    def _arrives(self, seconds: float) -> bool:
        """Whether the child sends something, or dies, within ``seconds``."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], max(0.0, seconds))[0])

    def _lose(self, why: str) -> None:
        self.close()
        raise (CameraLost if self.live else CameraError)(f"{self.name}: {why}")

    def _take(self, *tags: str) -> dict[str, Any]:
        """The message that arrives, which must be one of ``tags``."""
        problem = ""
        try:
            facts = self._receive()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # A child that was taken over by its input can send anything; what is malformed counts as its end.
            facts, problem = None, f" ({error})"
        if facts is not None and facts["tag"] in tags:
            return facts
        self.close()
        if facts is not None and facts["tag"] == "fail":
            raise ERRORS.get(facts["error"], CameraError)(facts["text"])
        # A negative code is the signal that killed it: 9 for memory, 11 for a crash in native code.
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit code {status}"
        self._lose(f"its reader ended with {how}{problem}; the file is most likely corrupt")
        raise AssertionError

    def _receive(self) -> dict[str, Any] | None:
        """The next message with its arrays; None at the end. Raises ValueError where it is malformed."""
        stream, seconds = self._process.stdout, self._timeouts.frame
        lead = bytearray(LENGTH.size)
        if not fill(stream, lead, seconds):
            return None
        (length,) = LENGTH.unpack(lead)
        # The length is the child's word; memory is taken only within the bounds that a frame needs.
        head = bytearray(min(length, MOST_HEADER))
        if length > MOST_HEADER or not fill(stream, head, seconds):
            raise ValueError("it broke off in the middle")
        facts: dict[str, Any] = parse_json(bytes(head))
        for name, shape in facts.pop("shapes").items():
            dtype, channels = ARRAYS[name]
            # The same limits as for pictures that are decoded in this process.
            if math.prod(shape[:2]) > MAX_PIXELS or (channels == 3) != (len(shape) == 3):
                raise ValueError(f"it sent {name} of {shape}")
            facts[name] = np.zeros(shape, dtype)
            if name not in facts["empty"] and not fill(stream, facts[name].data.cast("B"), seconds):
                raise ValueError("it broke off in the middle of a frame")
        return facts

    def read(self, timeout: float = 1.0) -> Frame | None:
        """As BaseCamera.read; CameraError in bounded time where the child hangs, crashes or dies."""
        with self._lock:
            if self._over:
                return None
            if self.rate != self._wish[-1]:
                self._ask(self._wish[:2])
            now = time.monotonic()
            self._waiting = self._waiting or now
            if not self._arrives(timeout):
                # Counted from the first read that found nothing: a paused stream, which does not read, ends no child.
                if time.monotonic() - self._waiting > self._timeouts.frame:
                    self._lose(f"its reader gave no frame for {self._timeouts.frame:g} s and was ended")
                raise CameraTimeout(f"{self.name}: no frame within {timeout:g} s")
            self._waiting = None
            facts = self._take("done", "frame")
            self._adopt(facts)
            if facts["seek"] != self._wish[0]:
                raise CameraTimeout(f"{self.name}: on the way to another place")
            if facts["tag"] == "done":
                self._over = True
                if not self.seekable:
                    self.close()
                return None
        self.busy_s = facts["busy_s"]
        stamps = facts["timestamp"], facts["depth_timestamp"]
        place = facts["position"]
        return Frame(facts["rgb"], facts["depth"], *stamps, facts["sequence"], facts.get("nir"), place)

    def seek(self, position: float) -> None:
        """As BaseCamera.seek."""
        if not self.seekable:
            super().seek(position)
        with self._lock:
            self._ask([self._wish[0] + 1, position])
            self._over, self._waiting = False, None

    def _ask(self, place: list[Any]) -> None:
        """Send a wish; :meth:`read` finds out where the child is gone."""
        self._wish = [*place, self.rate]
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(self._wish).encode() + b"\n")

    def close(self) -> None:
        """Ask the child to end, and end it where it does not within a second."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        end(self._process)
        self._scratch.cleanup()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()
            assert self._process.stdout is not None
            self._process.stdout.close()


def fill(stream: Any, target: bytearray | memoryview, seconds: float) -> bool:
    """Fill ``target`` from a pipe; False where its writer ends before, or is silent for ``seconds``."""
    view = memoryview(target)
    while len(view):
        count = stream.readinto(view) if select.select([stream], [], [], seconds)[0] else 0
        if not count:
            return False
        view = view[count:]
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait a second for a process that was asked to end, then end it."""
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for anything else."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            return sum(inside.stat().st_size for inside in path.iterdir())
        return path.stat().st_size
    return 0


def send(stream: IO[bytes], tag: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one message; ``arrays`` named as in :data:`ARRAYS`. Of an array of zeros only the shape is sent."""
    shapes = {name: array.shape for name, array in arrays.items()}
    empty = [name for name, array in arrays.items() if not array.any()]
    head = json.dumps({**facts, "tag": tag, "shapes": shapes, "empty": empty}).encode()
    stream.write(LENGTH.pack(len(head)) + head)
    for name, array in arrays.items():
        if name not in empty:
            stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()
