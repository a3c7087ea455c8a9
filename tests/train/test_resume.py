"""Trainings in processes of their own: killed at any moment, in two processes, in parts: the weights stay the same."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def command(out: Path, **options: Any) -> list[str]:
    return ["-m", "tests.train.trainer", json.dumps({"out": str(out), **options})]


def finish(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def kill_when_paused(out: Path, **options: Any) -> None:
    """Start a training, wait until it says that it stands where it should, and end it by SIGKILL."""
    log = out.parent / f"{out.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen([sys.executable, *command(out, **options)], env=environment(), stderr=errors)
        try:
            deadline = time.monotonic() + 240
            while not (out / "paused").exists():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    (out / "paused").unlink()
    assert not (out / "model.safetensors").exists()


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


STEPS = {"steps": 6, "save_every": 2}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Per task, the weights of a run that nobody disturbed."""
    made: dict[str, dict[str, torch.Tensor]] = {}

    def of(task: str) -> dict[str, torch.Tensor]:
        if task not in made:
            out = tmp_path_factory.mktemp(task) / "whole"
            finish(*command(out, task=task, **STEPS))
            made[task] = weights(out)
        return made[task]

    return of


@pytest.mark.parametrize(
    ("task", "pauses"),
    [
        # between two checkpoints, while the second is being written, and with all steps done but no model yet
        ("sod", ("step:3", "writing:1", "finishing")),
        ("reid", ("step:5",)),
    ],
)
def test_killed_and_resumed_is_the_uninterrupted_run(uninterrupted, tmp_path, task, pauses):
    out = tmp_path / "run"
    for number, pause in enumerate(pauses):
        kill_when_paused(out, task=task, pause=pause, resume=number > 0, **STEPS)
    finish(*command(out, task=task, resume=True, **STEPS))
    expected, found = uninterrupted(task), weights(out)
    assert found.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    assert different == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(processes: int, out: Path, **options: Any) -> None:
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(free_port())]
    finish(*launch, *command(out, **options))


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize("task", ["sod", "reid"])
def test_two_processes_agree_with_one_after_ten_steps(tmp_path, task):
    finish(*command(tmp_path / "one", task=task, steps=10))
    together(2, tmp_path / "two", task=task, steps=10)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert largest_difference(one, two) <= 1e-5
    card = json.loads((tmp_path / "two" / "model.json").read_text())
    assert card["recipe"]["processes"] == 2


def test_a_batch_in_parts_agrees_with_a_whole_one(tmp_path):
    """With batch norm fixed: it sees the parts, as `--accumulate`'s help says."""
    for name, parts in (("whole", 1), ("parts", 2)):
        finish(*command(tmp_path / name, task="sod", steps=10, accumulate=parts, frozen_norm=True))
    assert largest_difference(weights(tmp_path / "whole"), weights(tmp_path / "parts")) <= 1e-5
