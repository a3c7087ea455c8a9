"""Runs in processes of their own: the same weights, nothing lost when they are asked to end, a failure told."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lab.ablation import study as studies
from lab.ablation import witness
from lab.ablation.jobs import LOG
from mutualformer.train.fitting.config import FitError
from tests.lab.ablation.photo_root import tiny_on_photographs, write_photo_root
from tests.train.fitting.test_resume import environment

pytestmark = pytest.mark.slow

STEPS, ARMS, FRAMES = 12, ("concat", "cda"), 4
PROGRAM = """
import sys
from pathlib import Path
from lab.ablation import __main__ as ablation
from tests.lab.ablation.photo_root import tiny_on_photographs

root, out, steps, *words = sys.argv[1:]
ablation.configured = lambda *_: tiny_on_photographs(Path(root), Path(out), int(steps))
if __name__ == "__main__":
    sys.exit(ablation.main(["sod-nano", "--data", "unused", "--out", out, *words]))
"""


def _command(tmp_path: Path, root: Path, out: Path) -> list[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    words = ["--seeds", "1", "--fusions", *ARMS, "--jobs", "2", "--frames", str(FRAMES)]
    return [sys.executable, str(program), str(root), str(out), str(STEPS), *words]


def _wait_for_steps(process: subprocess.Popen[Any], out: Path) -> None:
    """Until both runs have begun."""
    deadline = time.monotonic() + 240
    while not all((out / f"{arm}-seed0" / witness.BATCHES).is_file() for arm in ARMS) or not all(
        witness.batches_of(out / f"{arm}-seed0") for arm in ARMS
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.full
def test_asked_to_end_the_runs_save_and_the_same_command_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    root, out, whole = write_photo_root(tmp_path / "photo"), tmp_path / "out", tmp_path / "whole"
    process = subprocess.Popen(
        _command(tmp_path, root, out), env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    _wait_for_steps(process, out)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "the same command continues it" in errors
    unfinished = [arm for arm in ARMS if not (out / f"{arm}-seed0" / "model.safetensors").exists()]
    assert unfinished
    assert all((out / f"{arm}-seed0" / "checkpoints" / "last.ckpt").is_file() for arm in unfinished)
    done = subprocess.run(
        _command(tmp_path, root, out), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## sod-nano on photographs: 2 fusions")
    assert all(f"{arm}-seed0 finished" in done.stderr for arm in unfinished)
    # On as many threads: sums of another order are other weights after some steps.
    subprocess.run(_command(tmp_path, root, whole), env=environment(), capture_output=True, timeout=300, check=True)
    for arm in ARMS:
        ours, theirs = (load_file(folder / f"{arm}-seed0" / "model.safetensors") for folder in (out, whole))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    scores = [(folder / "ablation.csv").read_text() for folder in (out, whole)]
    assert scores[0] == scores[1]


@pytest.mark.full
def test_runs_end_when_the_one_who_started_them_is_killed(tmp_path: Path) -> None:
    root, out = write_photo_root(tmp_path / "photo"), tmp_path / "out"
    command = _command(tmp_path, root, out)
    command[command.index(str(STEPS))] = "5000"  # long enough to be found running
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait_for_steps(process, out)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    deadline = time.monotonic() + 120
    while not all((out / f"{arm}-seed0" / "checkpoints" / "last.ckpt").is_file() for arm in ARMS):
        assert time.monotonic() < deadline, "the runs went on"
        time.sleep(0.2)
    sizes = [os.stat(out / f"{arm}-seed0" / witness.BATCHES).st_size for arm in ARMS]
    time.sleep(1.5)
    assert [os.stat(out / f"{arm}-seed0" / witness.BATCHES).st_size for arm in ARMS] == sizes


@pytest.mark.full
def test_a_run_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    root = write_photo_root(tmp_path / "photo")
    config = dataclasses.replace(tiny_on_photographs(root, tmp_path / "out"), init=str(tmp_path / "gone.safetensors"))
    with pytest.raises(FitError, match=r"concat-seed0: .*gone\.safetensors.*training\.log"):
        studies.study(config, (0,), ["concat"], jobs=2, frames=FRAMES)
    assert "gone.safetensors" in (tmp_path / "out" / "concat-seed0" / LOG).read_text()
