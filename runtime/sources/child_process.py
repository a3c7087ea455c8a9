"""The child of :mod:`child`: opens a source and plays it into a pipe, with a heartbeat from a second thread.

Native code that never returns keeps Python's lock, so the heart stops with it: the parent gives up, and the child's own
alarm clock, which the heart winds up, ends it even if the parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from mutualformer.runtime.sources.base import Camera, CameraError, CameraTimeout
from mutualformer.runtime.sources.child_pipe import send
from mutualformer.runtime.untrusted.typed_json import parse_json

BEAT_SECONDS = 0.5
ALARM_SECONDS = 20
MOST_MEMORY = 8 << 30


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

    source = importlib.import_module(f"mutualformer.runtime.sources.{module}")
    threading.Thread(target=_watch_parent, daemon=True).start()
    threading.Thread(target=_beat, args=(say, lock), daemon=True).start()
    camera: Camera | None = None
    try:
        say("here", {})
        camera = source.open_source(target, parse_json(options))
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
    units = getattr(camera, "assumed_units", None)
    known = {"intrinsics": lens, "depth_scale": camera.depth_scale, "assumed_units": units}
    return {**known, "warnings": list(camera.warnings)}


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
