"""The TensorRT part of the acceptance, its steps replaced: what fails, what is skipped, how lines are called."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mutualformer.export.checks import engines
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, Outcome
from mutualformer.runtime import flavor
from mutualformer.runtime.session import engine_card

TARGETS = {"rtx": ("8.0", "8.6", "8.9", "12.0+"), "tensorrt": ("9.0",)}


class Verbs:
    """In place of ``subprocess.run`` of a verb: each succeeds, but for the one named in ``broken``."""

    def __init__(self, **broken: str) -> None:
        self.broken = broken
        self.made: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        words = command[3:]
        self.made.append(words)
        if words[0] in self.broken:
            return subprocess.CompletedProcess(words, 1, "", self.broken[words[0]])
        if words[0] == "to_trt":
            Path(words[3]).write_bytes(b"engine")
        if words[0] == "parity":
            out = Path(words[words.index("--out") + 1])
            out.mkdir()
            (out / "parity.json").write_text('{"tensor": {"max_abs": 0.001}}')
        line = json.dumps({"type": "frame"}) if words[0] == "stream" else "1.25 ms"
        return subprocess.CompletedProcess(words, 0, line + "\n", "")


@pytest.fixture(autouse=True)
def both_flavors(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(engine: Path) -> Any:
        kind = engine.name.split("-")[0]
        nodes: dict[str, Any] = {"plugin_layers": 2, "cda_nodes": 2, "heavy_nodes": {"Half": 100}}
        return SimpleNamespace(flavor=kind, targets=TARGETS[kind], layers=({},) * 7, kernels=9, **nodes)

    monkeypatch.setattr(flavor, "installed", lambda: ["rtx", "tensorrt"])
    monkeypatch.setattr(engine_card, "read", read)


def lines(
    monkeypatch: pytest.MonkeyPatch, folder: Path, verbs: Verbs, capability: str = "9.0", seconds: float = 600
) -> dict[str, Outcome]:
    monkeypatch.setattr(subprocess, "run", verbs)
    found = list(engines.outcomes(folder, folder / "model.onnx", capability, seconds))
    assert len({outcome.check for outcome in found}) == len(found), "two lines have one name"
    return {outcome.check: outcome for outcome in found}


def test_an_engine_for_other_gpus_is_built_and_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An H200, which TensorRT-RTX builds no engines for."""
    found = lines(monkeypatch, tmp_path, Verbs())
    assert found["trt-rtx-fp16-build"].state == PASS
    assert found["trt-rtx-fp16-build"].numbers["kernels"] == 9
    assert found["trt-rtx-fp16-run"].state == SKIP
    assert "builds engines for 8.0, 8.6, 8.9, 12.0+, this GPU is 9.0" in found["trt-rtx-fp16-run"].detail
    assert found["trt-tensorrt-int8-run"].state == PASS
    assert found["trt-tensorrt-int8-run"].numbers == {
        "max_abs": 0.001, "with_graph_ms": 1.25, "without_graph_ms": 1.25, "frames": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "message", "state", "expected"),
    [
        ("to_trt", "error: TensorRT could not build the engine", FAIL, "to_trt ended with exit code 1: error: Tens"),
        ("to_trt", "error: Python package 'onnx' is missing; pip install", SKIP, "Python package 'onnx' is missing"),
        ("parity", "error: max abs is 0.5", FAIL, "parity ended with exit code 1: error: max abs is 0.5"),
        ("stream", "error: no frame", FAIL, "stream ended"),
    ],
)
def test_a_step_that_fails_ends_its_line(
    verb: str, message: str, state: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = lines(monkeypatch, tmp_path, Verbs(**{verb: message}))
    name = f"trt-tensorrt-fp32-{'build' if verb == 'to_trt' else 'run'}"
    assert found[name].state == state
    assert expected in found[name].detail
    assert ("trt-tensorrt-fp32-run" in found) == (verb != "to_trt")


def test_without_time_only_the_first_engine_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = lines(monkeypatch, tmp_path, Verbs(), seconds=-1)
    assert [name for name, outcome in found.items() if outcome.state == PASS] == ["trt-rtx-fp16-build"]
    assert "no time left" in found["trt-tensorrt-fp32"].detail


def test_without_tensorrt_it_is_one_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flavor, "installed", list)
    found = lines(monkeypatch, tmp_path, Verbs())
    assert {name: outcome.state for name, outcome in found.items()} == {"tensorrt": SKIP}
