"""After a signal a program is gone within three seconds with its exit code, whatever it waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
START = """
import argparse, ctypes, os, sys, threading, time
from mutualformer.runtime.commandline.running import run_verb
def command(args):
    print("ready", flush=True)
    {body}
    return 0
sys.argv = ["x"]
sys.exit(run_verb(argparse.ArgumentParser(), command))
"""
WAITING = {
    "a worker": "from concurrent.futures import ThreadPoolExecutor\n"
    "    with ThreadPoolExecutor(1) as pool: pool.submit(time.sleep, 60).result()",
    "native code": "ctypes.PyDLL(None).usleep.argtypes; [ctypes.CDLL(None).usleep(900_000) for _ in range(60)]",
    "a cleaner": "try: time.sleep(60)\n    finally: time.sleep(60)",
    "an import": "open('slow.py', 'w').write('import time; time.sleep(60)'); sys.path.insert(0, ''); import slow",
    "nothing": "time.sleep(60)",
    "a forked child": "child = os.fork()\n    if not child: time.sleep(60)\n"
    "    time.sleep(1); os.kill(child, 15); os.waitpid(child, 0); print('lives', flush=True); time.sleep(60)",
}


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it(tmp_path: Path, name: str, number: int, code: int) -> None:
    command = [sys.executable, "-c", START.format(body=WAITING[name])]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            if name == "a forked child":
                assert process.stdout.readline() == "lives\n"
                time.sleep(4)
            time.sleep(0.5)
            assert process.poll() is None
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == code
            assert time.monotonic() - began < 15  # three, and what a busy machine adds
        finally:
            process.kill()
