"""The child of :mod:`child`: opens a source within its limits and plays it into a pipe.

Native code that never returns keeps the GIL, so that none of our threads could end it. Therefore a thread resets
the alarm signal every few seconds; where it no longer runs, the alarm ends the process.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from mutualformer.runtime.sources.base import BaseCamera, CameraError, CameraTimeout
from mutualformer.runtime.sources.child import bytes_of, send
from mutualformer.runtime.untrusted.foreign import reason
from mutualformer.runtime.untrusted.typed_json import parse_json

ALARM_SECONDS = 20
LOOK_SECONDS = 5.0
MOST_MEMORY = 2 << 30  # and never more than half of what the machine has
LEAST_DISK, MOST_GROWTH = 1 << 30, 100  # limit of a file on disk: bytes, or times the size of the source
LONGEST_SENTENCE = 2000


# Warnings that our own code logs here; the parent gets them, because standard error is not shown.
LOGGED: list[str] = []
# Of the parent: [number of the seek, position or None, rate].
WISHES: queue.SimpleQueue[Any] = queue.SimpleQueue()


def main() -> int:
    """Open the source that standard input names and play it to standard output, which nothing else then writes to."""
    module, target, query, name = parse_json(sys.stdin.buffer.readline())
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an SDK prints must not get between the frames
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: LOGGED.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mutualformer").addHandler(handler)
    threading.Thread(target=_watch_parent, daemon=True).start()
    camera: BaseCamera | None = None
    try:
        source = importlib.import_module(f".{module}", "mutualformer.runtime.sources")
        _limit(bytes_of(Path(target)))
        camera = source.open_source(target, query)
        able = {"seekable": camera.seekable, "rate": camera.rate}
        send(pipe, "open", {"name": camera.name, "live": camera.live, **able, **_attributes(camera)}, {})
        _play(camera, pipe)
    except BrokenPipeError:
        pass
    except Exception as error:  # libraries raise anything; our own sentences pass unchanged
        text = str(error) if isinstance(error, CameraError) else f"{name}: its reader failed ({reason(error)})"
        send(pipe, "fail", {"error": type(error).__name__, "text": text[:LONGEST_SENTENCE]}, {})
    finally:
        with contextlib.suppress(Exception):
            if camera is not None:
                camera.close()
    return 0


def _play(camera: BaseCamera, pipe: Any) -> None:
    number, ended = 0, False
    while True:
        try:
            sought, position, camera.rate = WISHES.get(block=ended)
        except queue.Empty:
            pass
        else:
            if sought != number:
                camera.seek(position)
                number, ended = sought, False
            continue
        try:
            frame = camera.read(0.5)
        except CameraTimeout:
            continue
        if frame is None:
            send(pipe, "done", {"seek": number, **_attributes(camera)}, {})
            if not camera.seekable:
                return
            ended = True
            continue
        arrays: dict[str, Any] = {"rgb": frame.rgb, "depth": frame.depth}
        if frame.nir is not None:
            arrays["nir"] = frame.nir
        times = {"timestamp": frame.timestamp, "depth_timestamp": frame.depth_timestamp}
        place = {"sequence": frame.sequence, "position": frame.position, "seek": number}
        facts = {**times, **place, "busy_s": camera.busy_s, **_attributes(camera)}
        send(pipe, "frame", facts, arrays)


def _attributes(camera: BaseCamera) -> dict[str, Any]:
    return {
        "intrinsics": camera.intrinsics.to_json() if camera.intrinsics is not None else None,
        "depth_scale": camera.depth_scale,
        "first_reason": camera.first_reason[:LONGEST_SENTENCE],
        "warnings": [sentence[:LONGEST_SENTENCE] for sentence in (*camera.warnings, *LOGGED)],
    }


def _watch_parent() -> None:
    """Collect the parent's wishes; end this process when the parent closes our standard input, or dies."""
    rest = b""
    while True:
        signal.alarm(ALARM_SECONDS)
        if not select.select([0], [], [], LOOK_SECONDS)[0]:
            continue
        got = os.read(0, 1 << 12)
        if not got:
            os._exit(0)
        *lines, rest = (rest + got).split(b"\n")
        for line in lines:
            WISHES.put(parse_json(line))


def _limit(size: int) -> None:
    """Limits of memory and of what is written to disk, by the bytes of the file."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = {
        resource.RLIMIT_DATA: min(MOST_MEMORY, memory // 2),
        resource.RLIMIT_FSIZE: max(LEAST_DISK, MOST_GROWTH * size),
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, most = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


if __name__ == "__main__":
    sys.exit(main())
