"""Sessions opened and closed over the stand-in driver and a TensorRT of one node; errors on close are reported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugins import support

FAULTS = {
    "": "opened, run and closed",
    "order": "wrong order of destruction",
    "context": "changed this thread's CUDA context",
    "memory": "were not given back: {'allocate': 1}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_sessions_and_what_a_wrong_close_leaves_behind(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: the stand-in driver stays loaded until its process ends."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    monkeypatch.setenv("MUTUALFORMER_PLUGIN", str(support.built() / "libmutualformer_plugin.so"))
    command = [sys.executable, "-m", "tests.standins.sessions", *([fault] if fault else [])]
    done = subprocess.run(command, cwd=support.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == bool(fault), done.stdout + done.stderr
    assert FAULTS[fault] in done.stdout + done.stderr
