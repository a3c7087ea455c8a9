"""Make SIGTERM end a verb in order, as Ctrl-C does: temporary files are removed and open files are closed.

Received signals are kept in a list, because a C extension that is interrupted while it is imported turns the
KeyboardInterrupt into an ImportError, which some libraries ignore.
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
_insisting: list[int] = []  # the pipe's writing end; empty unless this process is the command itself


def watch() -> None:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, unless they have another handler. A second SIGTERM kills."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:
            signal.signal(number, _receive)


def insist() -> None:
    """Make this program end within :data:`GRACE_SECONDS` of a signal, even while native code is running.

    The interpreter's C handler writes the signal's number into a pipe at once, while a Python handler runs only after
    the main thread has returned from native code. Signals with another handler (a stream closes its recording, a
    training saves a checkpoint) are left to it.
    """
    if _insisting or threading.current_thread() is not threading.main_thread():
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child must not write into this pipe
    _insisting.append(write)
    threading.Thread(target=_wait, args=(read,), name="signals", daemon=True).start()


def _wait(read: int) -> None:
    for number in iter(lambda: os.read(read, 1)[0], 0):
        # SIG_DFL: our handler has run already, and a second signal kills.
        if number in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) in (_receive, signal.SIG_DFL):
            time.sleep(GRACE_SECONDS)
            os._exit(128 + number)


def _receive(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != _process:  # this is a forked worker, which its parent is terminating
            os.kill(os.getpid(), number)
    received.append(number)
    raise KeyboardInterrupt


def stopped() -> int:
    """Print that the verb was interrupted; returns the exit code that shells use, 128 + signal."""
    number = received[0] if received else signal.SIGINT
    received.clear()
    print("interrupted" if number == signal.SIGINT else "terminated", file=sys.stderr)
    if _insisting:
        # An ordinary exit could abort while a thread is in native code, and would raise SIGINT again after an import.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(128 + number)
    return 128 + number
