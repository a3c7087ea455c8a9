"""Runs one target many times in a child process with limits: no foreign exception, no hang, no memory beyond reason."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.mutations import blow_up, mutate

HANG_SECONDS = 5  # of this process's own time; other programs on the machine are not a hang
STUCK_SECONDS = 60  # on the clock, for what waits without computing
BLOWN_UP_SHARE = 0.02  # of the cases; they are a hundred times larger
# What a case of so many bytes may take: CPU seconds and bytes of memory, a fixed part and one with its size.
SECONDS, SECONDS_PER_MB = 0.5, 5.0
MEMORY, MEMORY_PER_BYTE = 64 << 20, 20
# Beyond what the interpreter and its libraries have mapped when the campaign begins.
MORE_MEMORY = 1 << 30


class TooMuch(Exception):
    """A case took more time or memory than its size allows."""


class Hang(BaseException):
    """A case that did not come back in time; no ``except Exception`` may swallow it."""


@dataclass(frozen=True)
class Target:
    """``seeds``: good inputs, the first of which is read. ``run``: raises one of ``allowed`` for a bad one.

    ``words``: what the format is made of. ``run`` gets the case and a folder of its own for files.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    run: Callable[[bytes, Path], object]
    allowed: tuple[type[BaseException], ...]
    words: Sequence[bytes] = ()
    bomb: Callable[[bytes], bytes] | None = None  # packs a blown-up case as the format does


@dataclass
class Report:
    """``accepted``: cases that were read; ``refused``: with an allowed error; ``failures``: where → first example."""

    target: str
    cases: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)


def campaign(target: Target, cases: int, seed: int, seconds: float = float("inf"), keep: Path | None = None) -> Report:
    """``cases`` mutations from ``seed``, at most for ``seconds``, in a child. ``keep``: folder for failing inputs.

    The child is forked by a server that has no threads: a fork of who has some may wait for a lock that nobody holds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.__main__"])
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(send, target.name, cases, seed, seconds, keep))
    child.start()
    send.close()
    try:
        if not receive.poll(seconds + 2 * STUCK_SECONDS if seconds < float("inf") else None):
            child.kill()  # native code that waits hears no signal
            return Report(target.name, failures={"it waits for ever": "see the last case kept"})
        report: Report = receive.recv()
    except EOFError:
        child.join()
        return Report(target.name, failures={f"the process died with {child.exitcode}": "see the last case kept"})
    child.join()
    return report


def _child(send: Any, name: str, cases: int, seed: int, seconds: float, keep: Path | None) -> None:
    """The parent keeps its memory limits and its alarm."""
    from tests.fuzz.__main__ import TARGETS

    try:
        report = _run(TARGETS[name], cases, seed, seconds, keep)
    except BaseException:
        report = Report(name, failures={"the campaign itself": traceback.format_exc()[-2000:]})
    send.send(report)


def _run(target: Target, cases: int, seed: int, seconds: float, keep: Path | None) -> Report:
    def alarm(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, alarm)
    signal.signal(signal.SIGPROF, alarm)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng and libjpeg speak of every broken picture
    report, rng, began = Report(target.name), random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        seeds = list(target.seeds(folder))
        target.run(seeds[0], folder)  # what is good must be read, or the mutations test nothing
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MORE_MEMORY, resource.RLIM_INFINITY))
        while report.cases < cases and time.monotonic() - began < seconds:
            large = rng.random() < BLOWN_UP_SHARE
            data = (blow_up if large else mutate)(rng, rng.choice(seeds), target.words)
            if large and target.bomb is not None:
                data = target.bomb(data)
            report.cases += 1
            before, start = _resident() if large else 0, time.process_time()
            try:
                _case(target, data, folder, report, keep)
            except Hang as hang:  # native code held the signal back until the case was over
                _note(report, hang, data, keep)
            finally:
                _watch(0, 0)
            took = time.process_time() - start
            report.slowest_s = max(report.slowest_s, took)
            if large:
                grown = _resident(peak=True) - before
                if took > SECONDS + SECONDS_PER_MB * len(data) / 1e6 or grown > MEMORY + MEMORY_PER_BYTE * len(data):
                    _note(report, TooMuch(f"{len(data)} bytes took {took:.1f} s, {grown >> 20} MiB"), data, keep)
    report.seconds = time.monotonic() - began
    return report


def _resident(peak: bool = False) -> int:
    """Bytes of memory this process has now, or at most since the last call without ``peak``."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _case(target: Target, data: bytes, folder: Path, report: Report, keep: Path | None) -> None:
    """One case; raises Hang where that comes after its end."""
    _watch(HANG_SECONDS, STUCK_SECONDS)
    try:
        target.run(data, folder)
        report.accepted += 1
    except target.allowed:
        report.refused += 1
    except BaseException as error:
        _note(report, error, data, keep)
    _watch(0, 0)


def _watch(own_seconds: float, clock_seconds: float) -> None:
    """Raise Hang after so much processor time, or so much time; 0 takes it back."""
    signal.setitimer(signal.ITIMER_PROF, own_seconds)
    signal.setitimer(signal.ITIMER_REAL, clock_seconds)


def _note(report: Report, error: BaseException, data: bytes, keep: Path | None) -> None:
    stack = traceback.extract_tb(error.__traceback__) or traceback.extract_stack()[:1]
    ours = [place for place in stack if "/mutualformer/" in place.filename or "/runtime/" in place.filename]
    place = (ours or stack)[-1]
    where = (
        "too much"
        if isinstance(error, TooMuch)
        else f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    )
    if where not in report.failures:
        report.failures[where] = f"case {report.cases}: {str(error)[:200]}"
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{report.target}-{len(report.failures):03d}.bin").write_bytes(data)
