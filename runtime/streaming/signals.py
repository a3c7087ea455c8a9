"""SIGTERM ends a verb in order, as Ctrl-C does: what is half written goes, what was begun is closed.

Both are remembered, because a module in C that they strike while it is imported turns them into an ImportError, and
some libraries go on without it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

received: list[int] = []
_process = os.getpid()


def watch() -> None:
    """From now on either is a KeyboardInterrupt, unless somebody else handles it. A second SIGTERM kills."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:
            signal.signal(number, _receive)


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
    return 128 + number
