"""Trainings killed at any moment, in two processes, in parts: the weights stay the same."""

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

from mutualformer.train.fitting.training import fit
from tests.train.support.runs import tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def command(out: Path, **options: Any) -> list[str]:
    return ["-m", "tests.train.support.trainer", json.dumps({"out": str(out), **options})]


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


def train_here(out: Path, task: str, **options: Any) -> dict[str, torch.Tensor]:
    """The same training in this process; returns its weights."""
    fit(tiny(task, out, **options))
    return weights(out)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


STEPS = {"steps": 6, "save_every": 2}


@pytest.mark.parametrize(
    ("task", "pauses"),
    [
        # between two checkpoints, while the second is being written, and with all steps done but no model yet
        ("sod", ("step:3", "writing:1", "finishing")),
        ("reid", ("step:5",)),
    ],
)
@pytest.mark.full
def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path: Path, task: str, pauses: tuple[str, ...]) -> None:
    expected, out = train_here(tmp_path / "whole", task, **STEPS), tmp_path / "run"
    for number, pause in enumerate(pauses):
        kill_when_paused(out, task=task, pause=pause, resume=number > 0, **STEPS)
    actual = train_here(out, task, resume=True, **STEPS)
    assert actual.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, actual[name])]
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


# Rounding differs with the order of sums, and training from scratch is chaotic: AdamW turns the rounding error of a
# gradient that is zero into a whole step, in float32 more than 1e-5 within ten of them. In float64 that is no excuse.
EXACT = {"steps": 10, "precision": "64-true"}


@pytest.mark.parametrize("task", ["sod", "reid"])
@pytest.mark.full
def test_two_processes_agree_with_one_after_ten_steps(tmp_path: Path, task: str) -> None:
    together(2, tmp_path / "two", task=task, **EXACT)
    assert largest_difference(train_here(tmp_path / "one", task, **EXACT), weights(tmp_path / "two")) <= 1e-5
    card = json.loads((tmp_path / "two" / "model.json").read_text())
    assert card["recipe"]["processes"] == 2


THAW = {"freeze": ["rgb_backbone.conv_stem", "rgb_backbone.*bn"], "thaw": 0.5}


@pytest.mark.full
def test_what_thaws_learns_alike_in_every_process(tmp_path: Path) -> None:
    whole = train_here(tmp_path / "one", "sod", how=THAW, **EXACT)
    together(2, tmp_path / "two", task="sod", how=THAW, **EXACT)
    assert largest_difference(whole, weights(tmp_path / "two")) <= 1e-5


@pytest.mark.full
def test_killed_behind_the_thaw_and_resumed_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """Frozen parameters are among the optimiser's from the start; a state of either side of the thaw is resumed."""
    whole = train_here(tmp_path / "whole", "sod", how=THAW, **STEPS)
    kill_when_paused(tmp_path / "run", task="sod", pause="step:3", how=THAW, **STEPS)
    kill_when_paused(tmp_path / "run", task="sod", pause="step:5", how=THAW, resume=True, **STEPS)
    assert largest_difference(whole, train_here(tmp_path / "run", "sod", resume=True, how=THAW, **STEPS)) == 0
    frozen = train_here(tmp_path / "frozen", "sod", how={**THAW, "thaw": 1.0}, **STEPS)
    name = "rgb_backbone.conv_stem.weight"
    assert float((frozen[name] - whole[name]).abs().max()) > 1e-6


@pytest.mark.full
def test_norms_by_process_are_those_of_its_own_share(tmp_path: Path) -> None:
    """They teach nearly the same as norms over the whole batch, and not the same."""
    together(2, tmp_path / "two", task="sod", local_norms=True, **EXACT)
    assert json.loads((tmp_path / "two" / "model.json").read_text())["recipe"]["local_norms"] is True
    one, two = train_here(tmp_path / "one", "sod", **EXACT), weights(tmp_path / "two")
    other = train_here(tmp_path / "other", "sod", seed=1, **EXACT)
    assert 1e-5 < largest_difference(one, two) < largest_difference(one, other)
