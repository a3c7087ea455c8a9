"""Run a verb: output in any terminal encoding, signals, errors as one line, missing packages."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mutualformer.extras import missing
from mutualformer.runtime.files import reason
from mutualformer.runtime.streaming import signals
from mutualformer.runtime.untrusted.printable import printable

# Our code raises these on bad input: one sentence, no traceback. MemoryError: a picture or model is too large.
USER_ERRORS = (ValueError, RuntimeError, OSError, MemoryError)


class _Lines(logging.Formatter):
    """Formats log lines; control characters, which names of files or devices may hold, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 has no StreamHandler[…]
    """Writes to ``sys.stderr`` as it is at that moment: programs and tests replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_Lines("%(message)s"))

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None: ...


def prepare_output() -> None:
    """Send log lines to stderr; letters that the terminal's encoding lacks are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    # Compared by name: when this module is run as a file, its classes exist twice.
    if not any(type(handler).__name__ == _Stderr.__name__ for handler in root.handlers):
        root.addHandler(_Stderr())
        root.setLevel(logging.WARNING)
    logging.getLogger("mutualformer").setLevel(logging.INFO)  # ours; other libraries stay at warnings


def guarded(program: str, work: Callable[[], int]) -> int:
    """``work()``, where an error becomes one line and exit code 1. MUTUALFORMER_DEBUG=1 shows the traceback."""
    signals.watch()
    try:
        if signals.received:
            return signals.stopped()
        code = work()
        sys.stdout.flush()  # report a failing write here, not at the interpreter's exit
        return 128 + signals.received.pop() if signals.received and code == 128 + signal.SIGINT else code
    except KeyboardInterrupt:
        return signals.stopped()
    except BrokenPipeError:
        return unread()
    except Exception as error:
        if os.environ.get("MUTUALFORMER_DEBUG"):
            raise
        return signals.stopped() if signals.received else _failed(program, error)


def run_verb(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse and run, :func:`guarded`."""
    prepare_output()
    if argv is None:
        signals.insist()
    args = parser.parse_args(argv)
    return guarded(parser.prog, lambda: command(args))


def verb_parser(name: str, about: str | None, **options: Any) -> argparse.ArgumentParser:
    """The parser of ``mutualformer NAME``. ``about``: its help begins with the first line of this, a docstring."""
    return argparse.ArgumentParser(prog=f"mutualformer {name}", description=(about or "").splitlines()[0], **options)


def verb(
    parser: Callable[[], argparse.ArgumentParser], command: Callable[[argparse.Namespace], int]
) -> Callable[..., int]:
    """The ``main(argv)`` of a verb: :func:`run_verb` with a parser that is built when it is called."""

    def main(argv: Sequence[str] | None = None) -> int:
        return run_verb(parser(), command, argv)

    return main


def _failed(program: str, error: Exception) -> int:
    """Print the error on one line; returns the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        print(f"{program}: error: {missing(error.name)}", file=sys.stderr)
        return 1
    fault = " (this is a fault of the program: please report it with what MUTUALFORMER_DEBUG=1 adds)"
    print(
        f"{program}: error: {one_line(error)}{'' if isinstance(error, USER_ERRORS) else fault}",
        file=sys.stderr,
    )
    return 1


def unread() -> int:
    """The reader of standard output closed the pipe (``| head``): discard the rest; returns the code of SIGPIPE."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def one_line(error: BaseException) -> str:
    """An error's message on one line; with the class name where another library raised it."""
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        return printable(f"{os.fsdecode(error.filename)}: {reason(error)}")
    if isinstance(error, OSError) and error.errno and error.args[1:2] == (error.strerror,):
        return printable(reason(error))
    text = printable(" ".join(str(error).split())) or type(error).__name__
    ours = type(error).__module__.split(".")[0] == "mutualformer"
    return text if ours or isinstance(error, OSError) else f"{type(error).__name__}: {text}"[:600]


def run_module(name: str, prog: str, arguments: Sequence[str]) -> int:
    """Import module ``name`` and run its ``main(arguments)``, :func:`guarded`: packages it needs may be missing."""
    return guarded(prog, lambda: int(importlib.import_module(name).main(arguments)))
