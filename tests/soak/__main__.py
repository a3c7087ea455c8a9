"""``python -m tests.soak --minutes 60 --seed 1 [--keep DIR]``: exit 1 where a fault cost more than it may.

One stream with a model and a page runs all the time with viewers that come and go; its memory and descriptors must
stay flat. Beside it one short recording after another meets a fault: what it printed must be in the file, or named as
missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from mutualformer.runtime.sources import opening
from tests.runtime.fakes import MjpegCamera

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("-m", "mutualformer.runtime.cli")
VIEWERS = 10
UNWRITTEN = 60  # frames of a recording that may be under way to the disk when the program is killed
GROWTH = 48 << 20  # bytes of memory, after the first minute
# The clock goes back a day, ahead ten years and to zero while frames are taken.
JUMPING = """
import sys, time
real, calls = time.time_ns, [0]
def jumping():
    calls[0] += 1
    return max(0, real() + (0, -86400 * 10**9, 10 * 365 * 86400 * 10**9, -real() + 5)[calls[0] // 40 % 4])
time.time_ns, time.time = jumping, lambda: jumping() / 1e9
from mutualformer.runtime.cli import main
sys.exit(main())
"""


@dataclass
class Soak:
    """The running stream, and what went wrong."""

    rng: random.Random
    folder: Path
    problems: list[str] = field(default_factory=list)
    rounds: dict[str, int] = field(default_factory=dict)

    def start(
        self, *arguments: str, program: Sequence[str] = PROGRAM, prepare: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        """``mutualformer stream`` with its lines in a pipe."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *program, "stream", *arguments]
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )

    def expect(self, holds: bool, sentence: str) -> None:
        """Note ``sentence`` where something does not hold."""
        if not holds:
            self.problems.append(sentence)
            print(f"  PROBLEM {sentence}", flush=True)

    def record(
        self,
        name: str,
        act: Callable[[subprocess.Popen[str]], None],
        codes: tuple[int, ...],
        lost: int,
        program: Sequence[str] = PROGRAM,
        prepare: Callable[[], None] | None = None,
        source: str = "",
    ) -> None:
        """One recording that ``act`` disturbs after some frames: exit code, and what of it can be read back."""
        out = self.folder / f"{name.replace(' ', '-')}-{sum(self.rounds.values())}"
        source = source or f"synthetic://?fps=30&size=320x240&seed={self.rng.randrange(1000)}"
        options = ("--model", "none", "--record", str(out), "--frames", "150", "--json", "--quiet")
        process = self.start(source, *options, program=program, prepare=prepare)
        assert process.stdout is not None
        numbers, after = [], self.rng.randrange(30, 100)
        for line in process.stdout:
            if '"type": "frame"' in line:
                numbers.append(line)
                if len(numbers) == after:
                    act(process)
        process.wait(60)
        errors = process.stderr.read() if process.stderr else ""
        # A machine may be too slow for a recording: that is no loss in silence, and exit code 1 says so too.
        if told := re.search(r"recorder: (\d+) of \d+ frames are missing: too slow", errors):
            codes, lost = (*codes, 1), lost + int(told[1])
        self.expect(
            process.returncode in codes,
            f"{name}: exit code {process.returncode}, expected one of {codes}: {errors[-300:]}",
        )
        self.expect("Traceback" not in errors, f"{name}: {errors[-600:]}")
        for recording in out.iterdir() if out.is_dir() else ():
            with opening.camera(str(recording)) as camera:
                read = sum(1 for _ in camera)
            self.expect(read >= len(numbers) - lost, f"{name}: {len(numbers)} frames printed, {read} in the file")


def undisturbed(soak: Soak) -> None:
    """Nothing happens."""
    soak.record("undisturbed", lambda process: None, (0,), 0)


def ended(soak: Soak) -> None:
    """Ctrl-C or SIGTERM."""
    number = soak.rng.choice([signal.SIGINT, signal.SIGTERM])
    soak.record("ended", lambda process: process.send_signal(number), (128 + number,), 0)


def killed(soak: Soak) -> None:
    """kill -9: the recording opens, and little is missing."""
    soak.record("killed", lambda process: process.kill(), (-9,), UNWRITTEN)


def full_disk(soak: Soak) -> None:
    """Files may not grow beyond some megabytes: one sentence, and what was written can be read."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))

    soak.record("full disk", lambda process: None, (1,), 150, prepare=limited)


def paused(soak: Soak) -> None:
    """The machine sleeps for some seconds."""

    def sleep(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(soak.rng.uniform(1, 4))
        process.send_signal(signal.SIGCONT)

    soak.record("paused", sleep, (0,), 0)


def clock(soak: Soak) -> None:
    """The clock jumps."""
    soak.record("clock", lambda process: None, (0,), 0, program=("-c", JUMPING))


def lost_child(soak: Soak) -> None:
    """The process that plays a video is killed: one sentence."""
    path = soak.folder / "video.avi"
    if not path.is_file():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
        for number in range(600):
            writer.write(np.full((240, 320, 3), number % 256, np.uint8))
        writer.release()
    process = soak.start(f"{path}?fps=30", "--model", "none", "--json", "--quiet")
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if '"type": "frame"' in line:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    soak.expect("Traceback" not in errors, f"lost child: {errors[-600:]}")
    soak.expect(process.returncode == 1 or not children, f"lost child: exit code {process.returncode}")


class Unplugged(MjpegCamera):
    """An MJPEG camera of the network that hangs up after some pictures, and is away for a moment."""

    picture = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))[1].tobytes()
    away = 0.0

    def do_GET(self) -> None:
        if time.monotonic() < Unplugged.away:
            self.send_error(503)
            return
        with contextlib.suppress(OSError):
            self.send([self.picture] * random.randrange(20, 60), pause_s=1 / 60)
        Unplugged.away = time.monotonic() + random.uniform(0, 2)


def unplugged(soak: Soak) -> None:
    """A camera goes and comes back several times: the recording goes on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Unplugged) as camera:
        threading.Thread(target=camera.serve_forever, daemon=True).start()
        soak.record(
            "unplugged", lambda process: None, (0,), 0, source=f"http://127.0.0.1:{camera.server_address[1]}/video.mjpg"
        )
        camera.shutdown()


FAULTS: list[Callable[[Soak], None]] = [undisturbed, ended, killed, full_disk, paused, clock, lost_child, unplugged]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


def viewer(port: int, seed: int, stop: threading.Event) -> None:
    """Watches for a while, leaves without a word, comes back."""
    rng = random.Random(seed)
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                path = rng.choice(["/mjpeg/rgb", "/events", "/snapshot.zip", "/nothing"])
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                connection.settimeout(2)
                end = time.monotonic() + rng.uniform(0.1, 10)
                while time.monotonic() < end and not stop.is_set() and connection.recv(1 << 16):
                    pass
        except OSError:
            pass
        stop.wait(rng.uniform(0, 0.5))


def taken(pid: int) -> tuple[int, int]:
    """Bytes of memory and open descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    return int(match[1]) << 10 if match else 0, len(os.listdir(f"/proc/{pid}/fd"))


def soak(minutes: float, seed: int, folder: Path) -> Soak:
    """Run for so long; returns what was done and what went wrong."""
    state, port, stop = Soak(random.Random(seed), folder), free_port(), threading.Event()
    page = state.start("synthetic://?fps=10", "--model", "sod-nano", "--preview", f"127.0.0.1:{port}", "--quiet")
    threads = [threading.Thread(target=viewer, args=(port, seed + n, stop), daemon=True) for n in range(VIEWERS)]
    try:
        wait_for(port)
        for thread in threads:
            thread.start()
        end, warm = time.monotonic() + 60 * minutes, time.monotonic() + min(60.0, 20 * minutes)
        before: tuple[int, int] | None = None
        while time.monotonic() < end:
            fault = state.rng.choice(FAULTS)
            print(f"{fault.__name__} …", flush=True)
            fault(state)
            state.rounds[fault.__name__] = state.rounds.get(fault.__name__, 0) + 1
            if before is None and time.monotonic() > warm:
                before = taken(page.pid)
        stop.set()
        for thread in threads:
            thread.join(15)
        time.sleep(3)
        state.expect(page.poll() is None, f"the page ended with {page.poll()}")
        if before is not None and page.poll() is None:
            memory, descriptors = taken(page.pid)
            state.expect(memory - before[0] < GROWTH, f"memory grew from {before[0] >> 20} to {memory >> 20} MiB")
            state.expect(descriptors <= before[1] + 2, f"descriptors grew from {before[1]} to {descriptors}")
            print(f"page: {before[0] >> 20} → {memory >> 20} MiB, {before[1]} → {descriptors} descriptors")
    finally:
        stop.set()
        page.send_signal(signal.SIGTERM)
        state.expect(page.wait(20) == 143, f"the page ended with {page.returncode}, expected 143")
    return state


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the recordings (default: removed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        state = soak(args.minutes, args.seed, folder.absolute())
    print(json.dumps({"seed": args.seed, "rounds": state.rounds, "problems": state.problems}, indent=1))
    return int(bool(state.problems))


if __name__ == "__main__":
    sys.exit(main())
