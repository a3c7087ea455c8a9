"""SIGTERM ends a verb in order, as Ctrl-C does: what is half written goes, what was begun is closed.

Both are remembered, because a module in C that they strike while it is imported turns them into an ImportError, and
some libraries go on without it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType

GRACE_SECONDS = 3.0
received: list[int] = []
_process = os.getpid()
_insisting: list[int] = []  # the pipe's end, where this is a program and not a test or somebody's library


def watch() -> None:
    """From now on either is a KeyboardInterrupt, unless somebody else handles it. A second SIGTERM kills."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:
            signal.signal(number, _receive)


def insist() -> None:
    """From now on this program ends within :data:`GRACE_SECONDS` of a signal, whatever a thread of it waits for.

    The interpreter's C handler writes the signal's number into a pipe at once, where the handler in Python waits for
    the main thread to come back from native code. A signal that somebody else handles (a stream closes its recording,
    a training saves a checkpoint) is theirs.
    """
    if _insisting or threading.current_thread() is not threading.main_thread():
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are not this process's
    _insisting.append(write)
    threading.Thread(target=_wait, args=(read,), name="signals", daemon=True).start()


def _wait(read: int) -> None:
    for number in iter(lambda: os.read(read, 1)[0], 0):
        # SIG_DFL: ours has run already, and a second signal kills.
        if number in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) in (_receive, signal.SIG_DFL):
            time.sleep(GRACE_SECONDS)
            os._exit(128 + number)


def _receive(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != _process:  # a worker that was forked from this process, which now dismisses it
            os.kill(os.getpid(), number)
    received.append(number)
    raise KeyboardInterrupt


def stopped() -> int:
    """Say that the verb was ended from outside; returns the exit code as the shell counts it."""
    number = received[0] if received else signal.SIGINT
    received.clear()
    print("interrupted" if number == signal.SIGINT else "terminated", file=sys.stderr)
    if _insisting:
        # The interpreter would kill itself by SIGINT when the exception came out of an import, and could abort when a
        # thread is still in native code.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(128 + number)
    return 128 + number
