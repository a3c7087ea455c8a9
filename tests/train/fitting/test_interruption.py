"""A training asked to end: its state is saved, the exit code says why, and it goes on to the same weights."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mutualformer.train.fitting.training import fit
from tests.train.fitting.test_resume import environment
from tests.train.support.runs import tiny

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from pathlib import Path
from mutualformer.train import fit
from mutualformer.train.fitting.task import TrainingTask
from tests.train.support.runs import tiny
import torch

torch.set_num_threads(1)
after = TrainingTask.on_train_batch_end

def stepped(self, *arguments):
    after(self, *arguments)
    if self.global_step == 2:
        (Path(sys.argv[1]) / "waiting").write_text("here")
        import time
        end = time.monotonic() + 60
        while time.monotonic() < end and not (Path(sys.argv[1]) / "go").exists():
            time.sleep(0.05)

TrainingTask.on_train_batch_end = stepped
fit.configured = lambda *_: tiny("sod", Path(sys.argv[1]), steps=6)
sys.exit(fit.main(["sod-nano", "--data", "unused", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.full), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_weights(tmp_path: Path, number: int, code: int) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    fit(tiny("sod", whole, steps=6))
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out)], env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not (out / "waiting").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    time.sleep(0.3)  # the handler only makes a note: the step that is running ends first
    (out / "go").write_text("on")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert "interrupted at step 3, its state is in" in errors or "interrupted at step 2, its state is in" in errors
    assert "continue with --resume" in errors
    assert not (out / "model.safetensors").exists()
    fit(tiny("sod", out, steps=6, resume=True))
    expected, actual = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(value, actual[name]) for name, value in expected.items())
