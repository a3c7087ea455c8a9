"""Runs a source in a process of its own: a native reader that hangs, crashes or eats memory takes only itself down.

The child plays frames into a pipe, which holds it back when nobody reads, and sends a heartbeat from a second thread.
Native code that never returns keeps Python's lock, so the heart stops with it: the parent gives up after a bounded
time, and the child's own alarm clock, which the heart winds up, ends it even if the parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import mutualformer
from mutualformer.runtime.cameras.base import BaseCamera, Camera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.frame import Frame, Intrinsics
from mutualformer.runtime.images.files import MAX_PIXELS

MODULE = "mutualformer.runtime.cameras.child"
ERRORS = {error.__name__: error for error in (CameraError, CameraLost)}
BEAT_SECONDS = 0.5
ALARM_SECONDS = 20
MOST_MEMORY = 8 << 30
MOST_HEADER = 1 << 20
# tag, bytes of JSON; then the arrays the JSON names
LEAD = struct.Struct("<4sI")
ARRAYS: dict[str, tuple[type[np.generic], int]] = {"rgb": (np.uint8, 3), "depth": (np.float32, 1), "nir": (np.uint8, 3)}


@dataclass(frozen=True)
class Patience:
    """Seconds. ``start``: to import everything. ``silence``: between two heartbeats. ``frame``: to the next frame.

    ``bytes_per_s``: opening a large file may keep the reader busy that much longer.
    """

    start: float = 30.0
    silence: float = 4.0
    frame: float = 60.0
    bytes_per_s: float = 20e6


class ChildCamera(BaseCamera):
    """``module``: of this package, whose ``open_source(target, given)`` runs in the child. Raises as that one does.

    And CameraError where the child hangs, crashes or dies, in bounded time.
    """

    def __init__(
        self, module: str, target: str, given: Mapping[str, Any], name: str, patience: Patience | None = None
    ) -> None:
        super().__init__(name, live=False)
        self._patience = patience or Patience()
        self._inbox: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2)
        self._heard = self._waiting = time.monotonic()
        self._over = False
        command = [sys.executable, "-m", MODULE, module, target, json.dumps(dict(given))]
        paths = [
            str(Path(mutualformer.__file__).parents[1]),
            *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is the parent's to act upon
        )
        threading.Thread(target=self._listen, name=f"child-{self._process.pid}", daemon=True).start()
        try:
            self._expect("here", self._patience.start)
            size = Path(target).stat().st_size if Path(target).is_file() else 0
            about = self._expect("open", self._patience.silence + size / self._patience.bytes_per_s)
        except BaseException:
            self.close()
            raise
        self.name, self.live = about["name"], about["live"]
        self._adopt(about)

    def _adopt(self, facts: dict[str, Any]) -> None:
        lens = facts["intrinsics"]
        self.intrinsics = Intrinsics.from_json(lens) if lens is not None else None
        self.depth_scale = facts["depth_scale"]
        for sentence in facts["warnings"]:
            self.warn(sentence)

    def _listen(self) -> None:
        """In a thread: whatever the child says goes into the inbox, which holds the child back when it is full."""
        stream = self._process.stdout
        assert stream is not None
        try:
            while (message := receive(stream)) is not None:
                self._heard = time.monotonic()
                if message[0] != "beat":
                    self._inbox.put(message)
        except (ValueError, OSError) as error:
            self._inbox.put(("gone", str(error)))
        else:
            self._inbox.put(("gone", ""))

    def _expect(self, tag: str, seconds: float) -> Any:
        """The next message, which must be ``tag``, within ``seconds`` of silence. Raises CameraError."""
        self._heard = self._waiting = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return self._take(self._inbox.get(timeout=0.1), tag)
            self._judge(seconds)

    def _judge(self, silence: float) -> None:
        """Raise CameraError where the child has been silent, or has let us wait, for too long."""
        now = time.monotonic()
        if now - max(self._heard, self._waiting) > silence:
            self.close()
            raise CameraError(
                f"{self.name}: its reader hangs and was ended after {silence:.0f} s; the file is most likely damaged"
            )
        if now - self._waiting > self._patience.frame:
            self.close()
            raise CameraError(f"{self.name}: its reader gave no frame for {self._patience.frame:g} s and was ended")

    def _take(self, message: tuple[str, Any], tag: str) -> Any:
        kind, content = message
        if kind == tag:
            return content
        self.close()
        if kind == "fail":
            raise ERRORS.get(content["error"], CameraError)(content["text"])
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit code {status}"
        raise CameraError(
            f"{self.name}: its reader ended with {how}{f' ({content})' if content else ''}; "
            "the file is most likely damaged"
        )

    def read(self, timeout: float = 1.0) -> Frame | None:
        if self._over:
            return None
        end = time.monotonic() + timeout
        while True:
            try:
                message = self._inbox.get(timeout=min(0.2, max(0.001, end - time.monotonic())))
                break
            except queue.Empty:
                self._judge(self._patience.silence)
                if time.monotonic() >= end:
                    raise CameraTimeout(f"{self.name}: no frame within {timeout:g} s") from None
        self._waiting = time.monotonic()
        if message[0] == "done":
            self._over = True
            self._adopt(message[1])
            self.close()
            return None
        facts = self._take(message, "pics")
        self._adopt(facts)
        self.busy_s = facts["busy_s"]
        nir = facts.get("nir")
        return Frame(facts["rgb"], facts["depth"], facts["timestamp"], facts["depth_timestamp"], facts["sequence"], nir)

    def close(self) -> None:
        """Ask the child to end, and end it where it does not within a second."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + 1.0
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):  # a child that waits for room in the pipe must get it
                self._inbox.get(timeout=0.02)
        if process.poll() is None:
            process.kill()
        process.wait()


# The pipe.


def send(stream: IO[bytes], tag: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """One message; ``arrays`` named as in :data:`ARRAYS`."""
    shapes = {name: array.shape for name, array in arrays.items()}
    head = json.dumps({**facts, "shapes": shapes}).encode()
    stream.write(LEAD.pack(tag.encode(), len(head)) + head)
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array).data.cast("B"))
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[str, dict[str, Any]] | None:
    """The next message with its arrays among the facts; None at the end. Raises ValueError where it makes no sense."""
    lead = _exactly(stream, LEAD.size)
    if lead is None:
        return None
    tag, length = LEAD.unpack(lead)
    head = _exactly(stream, length) if length <= MOST_HEADER else None
    if head is None:
        raise ValueError("broke off in the middle")
    facts: dict[str, Any] = json.loads(head)
    for name, shape in facts.pop("shapes").items():
        dtype, channels = ARRAYS[name]
        if math.prod(shape[:2]) > MAX_PIXELS or (channels == 3) != (len(shape) == 3):
            raise ValueError(f"sent {name} of {shape}")
        array = np.empty(shape, dtype)
        if not _fill(stream, array.data.cast("B")):
            raise ValueError("broke off in the middle of a frame")
        facts[name] = array
    return tag.decode(), facts


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    data = stream.read(size)
    return data if len(data) == size else None


def _fill(stream: IO[bytes], target: memoryview) -> bool:
    at = 0
    while at < len(target):
        count = stream.readinto(target[at:])  # type: ignore[attr-defined]
        if not count:
            return False
        at += count
    return True


# The child.


def main(module: str, target: str, options: str) -> int:
    """Open the source and play it to standard output, which then belongs to nobody else."""
    import importlib

    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the SDK prints goes to standard error
    _limit_memory()
    lock = threading.Lock()

    def say(tag: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        with lock:
            send(pipe, tag, facts, arrays or {})

    source = importlib.import_module(f"mutualformer.runtime.cameras.{module}")
    threading.Thread(target=_watch_parent, daemon=True).start()
    threading.Thread(target=_beat, args=(say, lock), daemon=True).start()
    camera: Camera | None = None
    try:
        say("here", {})
        camera = source.open_source(target, json.loads(options))
        say("open", {"name": camera.name, "live": camera.live, **_attributes(camera)})
        _play(camera, say)
    except CameraError as error:
        say("fail", {"error": type(error).__name__, "text": str(error)})
    except BrokenPipeError:
        pass
    finally:
        if camera is not None:
            camera.close()
    return 0


def _play(camera: Camera, say: Any) -> None:
    while True:
        try:
            frame = camera.read(0.5)
        except CameraTimeout:
            continue
        if frame is None:
            say("done", _attributes(camera))
            return
        arrays = {"rgb": frame.rgb, "depth": frame.depth, **({"nir": frame.nir} if frame.nir is not None else {})}
        times = {"timestamp": frame.timestamp, "depth_timestamp": frame.depth_timestamp}
        facts = {**times, "sequence": frame.sequence, "busy_s": camera.busy_s, **_attributes(camera)}
        say("pics", facts, arrays)


def _attributes(camera: Camera) -> dict[str, Any]:
    lens = camera.intrinsics.to_json() if camera.intrinsics is not None else None
    return {"intrinsics": lens, "depth_scale": camera.depth_scale, "warnings": list(camera.warnings)}


def _beat(say: Any, lock: threading.Lock) -> None:
    """The heart: winds up the alarm, and says so unless a frame is on its way, which says the same."""
    while True:
        signal.alarm(ALARM_SECONDS)
        if not lock.locked():
            with contextlib.suppress(OSError):
                say("beat", {})
        time.sleep(BEAT_SECONDS)


def _watch_parent() -> None:
    """The parent closes our standard input when it is done with us, or dies."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(0)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = MOST_MEMORY if most == resource.RLIM_INFINITY else min(MOST_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
