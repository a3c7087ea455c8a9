"""Runs a source in a process of its own: a native reader that hangs, crashes or eats memory takes only itself down.

The child plays frames into a pipe, which holds it back when nobody reads, and sends a heartbeat from a second thread.
Native code that never returns keeps Python's lock, so the heart stops with it: the parent gives up after a bounded
time, and the child's own alarm clock, which the heart winds up, ends it even if the parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutualformer
from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraLost, CameraTimeout
from mutualformer.runtime.sources.child_pipe import receive
from mutualformer.runtime.sources.frame import Frame, Intrinsics

MODULE = "mutualformer.runtime.sources.child_process"
LONGEST_STEP = 0.3
ERRORS = {error.__name__: error for error in (CameraError, CameraLost)}


@dataclass(frozen=True)
class Patience:
    """Seconds. ``start``: to import everything. ``silence``: between two heartbeats. ``frame``: to the next frame.

    ``bytes_per_s``: opening a large file may keep the reader busy that much longer.
    """

    start: float = 60.0
    silence: float = 4.0
    frame: float = 60.0
    bytes_per_s: float = 20e6


class ChildCamera(BaseCamera):
    """``module``: of this package, whose ``open_source(target, query)`` runs in the child. Raises as that one does.

    And CameraError where the child hangs, crashes or dies, in bounded time.
    """

    def __init__(
        self, module: str, target: str, query: Mapping[str, Any], name: str, patience: Patience | None = None
    ) -> None:
        super().__init__(name, live=False)
        self._patience = patience or Patience()
        self._inbox: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2)
        self._heard = self._heard_before = self._looked = self._waiting = time.monotonic()
        self._silent = 0.0
        self._over = False
        command = [sys.executable, "-m", MODULE, module, target, json.dumps(dict(query))]
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
        self._listener = threading.Thread(target=self._listen, name=f"child-{self._process.pid}", daemon=True)
        self._listener.start()
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
        self.depth_scale, self.assumed_units = facts["depth_scale"], facts["assumed_units"]
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
        self._looked = self._waiting = time.monotonic()
        self._silent = 0.0
        while True:
            with contextlib.suppress(queue.Empty):
                return self._take(self._inbox.get(timeout=0.1), tag)
            self._judge(seconds)

    def _judge(self, silence: float) -> None:
        """Raise CameraError where the child has been silent, or has let us wait, for too long."""
        now = time.monotonic()
        # Long steps are ours: on a machine too busy to wake this process the child may be as late.
        step, self._looked = min(now - self._looked, LONGEST_STEP), now
        self._silent = 0.0 if self._heard > self._heard_before else self._silent + step
        self._heard_before = self._heard
        if self._silent > silence:
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
        """As Camera.read; CameraError in bounded time where the child hangs, crashes or dies."""
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
        self._silent = 0.0
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
        while self._listener.is_alive() and time.monotonic() < deadline + 1.0:
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=0.02)
        if process.stdout is not None and not self._listener.is_alive():
            process.stdout.close()
