"""The acceptance's checks on a CPU: each runs against the stand-in driver, and each planted fault is caught."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mutualformer.export import acceptance
from mutualformer.export.checks import report, runner, sanitizer
from mutualformer.export.checks.names import CHECKS
from mutualformer.export.checks.rig import machine as rig
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, CheckFailed, CheckSkipped, Outcome
from mutualformer.export.device.wheel import ROOT
from mutualformer.runtime.session.cuda import CudaError
from mutualformer.runtime.session.gpu import compute_capabilities
from tests.plugins import support
from tests.standins.faults import FAULTS

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
pytestmark = pytest.mark.skipif(bool(compute_capabilities()), reason="a GPU is here: run the command itself")
LOAD = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char** files) {
  void* library = 0;
  for (int i = 1; i < count; ++i) {
    library = dlopen(files[i], RTLD_NOW | RTLD_GLOBAL);
    if (!library) return fprintf(stderr, "%s\\n", dlerror()), 1;
  }
  return puts(((char const* (*)(void))dlsym(library, "mutualformer_plugin_info"))()) < 0;
}
"""
BLOCK = (
    "import sys\n"
    "class Missing:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in {names!r}:\n"
    "            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)\n"
    "sys.meta_path.insert(0, Missing())\n"
)


@pytest.fixture(scope="module", autouse=True)
def plugin() -> Iterator[Path]:
    """The built plugin, where the checks' processes find it."""
    pytest.importorskip("triton", reason="Triton is not installed: no kernels can be compiled")
    folder = support.built()
    os.environ["MUTUALFORMER_PLUGIN"] = str(folder / "libmutualformer_plugin.so")
    yield folder
    del os.environ["MUTUALFORMER_PLUGIN"]


def _check(name: str, *words: str, seconds: float = 100) -> Outcome:
    return runner.run_apart(name, seconds, "tests.standins", words)


def _blocking(folder: Path, *packages: str) -> str:
    """A folder for PYTHONPATH in front of which ``packages`` cannot be imported."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK.format(names=packages))
    return str(folder)


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks have NumPy and cuda-bindings only."""
    monkeypatch.setenv("PYTHONPATH", _blocking(tmp_path / "blocked", "torch", "triton", "timm", "lightning", "onnx"))


def test_shares_of_the_checks_add_up() -> None:
    assert sum(check.share for check in CHECKS.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ("sanitizer", "tensorrt", "pytorch")])
def test_every_check_passes_on_the_stand_in(name: str, jetson: None) -> None:
    outcome = _check(name)
    assert outcome.state == PASS, outcome.line()


@pytest.mark.slow
def test_pytorch_s_check_passes() -> None:
    outcome = _check("pytorch")
    assert outcome.state == PASS, outcome.line()


def test_pytorch_s_check_is_skipped_where_there_is_no_pytorch(jetson: None) -> None:
    outcome = _check("pytorch")
    assert outcome.state == SKIP
    assert "torch" in outcome.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((fault.caught_by, name) for name, fault in FAULTS.items()),
        ("portable", "wrong-stride"),
        ("concurrency", "drifting-launch"),
        ("timing", "drifting-launch"),
    ],
)
def test_planted_fault_fails_the_check_that_should_catch_it(name: str, fault: str) -> None:
    outcome = _check(name, "--plant", fault)
    assert outcome.state == FAIL, outcome.line()
    assert "the check itself broke" not in outcome.detail, outcome.detail


@pytest.mark.parametrize(("capability", "names"), [(88, ["machine"]), (103, ["machine", "cubins", "numerics"])])
def test_a_gpu_that_runs_the_ptx_passes(capability: int, names: list[str], jetson: None) -> None:
    for name in names:
        outcome = _check(name, "--capability", str(capability))
        assert outcome.state == PASS, outcome.line()


def test_a_gpu_that_nothing_was_built_for_fails() -> None:
    outcome = _check("machine", "--capability", "72")
    assert outcome.state == FAIL
    assert "build it on this machine" in outcome.detail


def test_references_are_computed_in_no_cuda_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps memory of one context and would hand it out in another: checks of nodes never import it."""
    program = (
        "import sys\n"
        "from tests.standins.machine import EmulatedMachine\n"
        "from mutualformer.export.checks.launches import concurrency, graphs, numerics\n"
        "machine = EmulatedMachine()\n"
        "with machine.driver.context():\n"
        "    for check in (concurrency, graphs, numerics):\n"
        "        check.check(machine)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_less_time_means_fewer_nodes() -> None:
    outcome = _check("numerics", seconds=0.1)
    assert outcome.state == PASS, outcome.line()
    assert outcome.numbers["nodes"] < outcome.numbers["planned"]
    assert "for which there was time" in outcome.detail


def test_minutes_are_shared_among_the_checks_that_are_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, float] = {}

    def apart(name: str, seconds: float) -> Outcome:
        asked[name] = seconds
        return Outcome(name, PASS, "")

    monkeypatch.setattr(runner, "run_apart", apart)
    monkeypatch.setattr("mutualformer.export.checks.engines.outcomes", lambda out, model, capability, seconds: [])
    list(runner.run_all((), 10, tmp_path, None, "8.7"))
    assert asked["numerics"] > 60 * 10 * CHECKS["numerics"].share, "what earlier checks leave is passed on"
    list(runner.run_all(("numerics",), 10, tmp_path, None, "8.7"))
    assert asked["numerics"] == pytest.approx(600, abs=1)


def test_a_crash_ends_one_check_and_is_named() -> None:
    outcome = runner.run_apart("crash", 1)
    assert outcome.state == FAIL
    assert "exit code 2 and no result" in outcome.detail
    assert runner._ended(-11) == "its process was killed by SIGSEGV"


# ---- The environment is a SKIP, a driver that does not start beside its GPU a FAIL ----


def test_without_a_gpu_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert acceptance.main(["--out", str(tmp_path)]) == 1
    assert "SKIP, no NVIDIA GPU here" in capsys.readouterr().out
    (check,) = json.loads((tmp_path / report.REPORT).read_text())["checks"]
    assert (check["check"], check["state"]) == ("machine", SKIP)


def test_a_driver_that_does_not_start_beside_a_gpu_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "ask_driver", lambda: ([], "the NVIDIA driver's cuInit answers 803"))
    monkeypatch.setattr(report, "device_node", lambda: "/dev/nvidia0")
    assert acceptance.main(["--out", str(tmp_path)]) == 1
    assert "FAIL, there is a GPU (/dev/nvidia0), but the NVIDIA driver's cuInit answers 803" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "node", "expected", "says"),
    [
        (ModuleNotFoundError("No module named 'cuda'"), "/dev/nvidia0", CheckSkipped, "cuda.bindings"),
        (CudaError("cuInit failed: CUDA_ERROR_NO_DEVICE"), "", CheckSkipped, "no NVIDIA GPU here"),
        (CudaError("cuInit failed: CUDA_ERROR_UNKNOWN"), "/dev/nvhost-gpu", CheckFailed, "does not start: cuInit"),
    ],
)
def test_who_is_at_fault_where_the_driver_does_not_open(
    error: Exception, node: str, expected: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(rig, "CheckDriver", broken)
    monkeypatch.setattr(rig, "device_node", lambda: node)
    with pytest.raises(expected, match=says):
        rig.open_driver()


def _sanitizer(folder: Path, script: str) -> str:
    """A compute-sanitizer of the test's own; PATH with it in front. It gets ``--tool NAME … PROGRAM``."""
    folder.mkdir()
    (folder / "compute-sanitizer").write_text(f'#!/bin/sh\ntool="$2"; shift 4\n{script}\n')
    (folder / "compute-sanitizer").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("script", "state", "says"),
    [
        ('"$@"', PASS, "memcheck, initcheck, racecheck, synccheck: nothing found"),
        ('"$@"; echo "========= Invalid __global__ read of size 4: error"; exit 86', FAIL, "Invalid __global__ read"),
        ('echo "========= Error: Device not supported"; exit 1', SKIP, "does not work here (exit code 1)"),
        ('[ $tool != racecheck ] && "$@" || { echo "cannot attach"; exit 3; }', PASS, "cannot attach"),
    ],
)
def test_a_sanitizer_that_finds_something_fails_one_that_cannot_work_is_skipped(
    script: str, state: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", _sanitizer(tmp_path / "bin", script))
    outcome = _check("sanitizer")
    assert outcome.state == state, outcome.line()
    assert says in outcome.detail


def test_without_a_sanitizer_it_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    monkeypatch.setattr(sanitizer, "watched", lambda *_: None)
    with pytest.raises(CheckSkipped, match="cuda-sanitizer"):
        sanitizer.check(type("M", (), {"seconds": 1.0})())


@pytest.mark.slow
def test_without_a_c_compiler_the_jitted_kernels_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = _check("pytorch")
    assert outcome.state == SKIP
    assert "C compiler" in outcome.detail


def test_a_pytorch_that_does_not_compute_on_this_gpu_is_skipped() -> None:
    """The PyTorch of this machine: no GPU, or no code for it."""
    with pytest.raises(CheckSkipped, match="does not compute on this GPU"):
        rig.Machine.torch_device(object.__new__(rig.Machine))


def test_exit_code_is_one_on_a_failure_and_where_nothing_passed() -> None:
    def outcomes(*states: str) -> list[Outcome]:
        return [Outcome("x", state, "") for state in states]

    assert report.exit_code(outcomes(PASS, SKIP)) == 0
    assert report.exit_code(outcomes(PASS, FAIL)) == 1
    assert report.exit_code(outcomes(SKIP, SKIP)) == 1


# ---- The archive ----


@pytest.mark.slow
def test_archive_carries_everything_but_numpy_and_the_binding(tmp_path: Path) -> None:
    """Unpacked elsewhere, its checks run where little else can be imported."""
    archive = tmp_path / "acceptance.tar.gz"
    assert acceptance.main(["--pack", str(archive)]) == 0
    assert archive.stat().st_size <= 40_000_000
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    packages = ("torch", "triton", "onnx", "onnxruntime", "cv2", "aiohttp", "mcap", "tqdm", "timm", "lightning")
    environment = {key: value for key, value in os.environ.items() if key != "MUTUALFORMER_PLUGIN"}
    environment |= {"PYTHON": sys.executable, "PYTHONPATH": _blocking(tmp_path / "blocked", *packages)}
    folder = tmp_path / "mutualformer-acceptance"
    done = subprocess.run(
        ["./run.sh", str(tmp_path / "out")], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stderr
    assert "no NVIDIA GPU here" in done.stdout, done.stdout + done.stderr
    # On the stand-in driver, which the archive does not bring.
    driver = "libtest_cuda_driver.so"
    (folder / "build" / driver).symlink_to(support.BUILD / driver)
    environment |= {"MUTUALFORMER_PLUGIN": str(folder / "build" / "libmutualformer_plugin.so")}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"], str(ROOT)])
    for name in ("cubins", "numerics"):
        result = tmp_path / f"{name}.json"
        command = [sys.executable, "-m", "tests.standins", name, "--result", str(result)]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
        assert json.loads(result.read_text())["state"] == PASS, result.read_text()
    (folder / "build" / "libplugin_harness.so").write_bytes(b"")
    assert subprocess.run(["./run.sh"], cwd=folder, env=environment, capture_output=True).returncode == 1


@pytest.mark.slow
def test_archive_for_a_jetson_holds_libraries_for_its_processor(tmp_path: Path) -> None:
    archive = tmp_path / "acceptance.tar.gz"
    if acceptance.main(["--pack", str(archive), "--for", "aarch64"]) != 0:
        pytest.skip("no cross compiler: sudo apt-get install g++-aarch64-linux-gnu")
    with tarfile.open(archive) as tar:
        libraries = {
            Path(member.name).name: tar.extractfile(member).read(20)  # type: ignore[union-attr]
            for member in tar.getmembers()
            if member.name.endswith(".so")
        }
    assert set(libraries) == {"libmutualformer_plugin.so", "libplugin_harness.so"}
    assert {int(np.frombuffer(head[18:20], "<u2")[0]) for head in libraries.values()} == {183}, "EM_AARCH64"
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("no qemu-user: sudo apt-get install qemu-user-static")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    build = tmp_path / "mutualformer-acceptance" / "build"
    (tmp_path / "load.c").write_text(LOAD)
    program = str(tmp_path / "load")
    compiler = ["aarch64-linux-gnu-gcc", "-o", program, str(tmp_path / "load.c"), "-ldl"]
    subprocess.run(compiler, check=True)
    files = [str(build / name) for name in ("libplugin_harness.so", "libmutualformer_plugin.so")]
    command = [emulator, "-L", "/usr/aarch64-linux-gnu", program, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    record = json.loads((build / "libmutualformer_plugin.so.json").read_text())
    assert [f"sm_{arch}" in done.stdout for arch in record["architectures"]] == [True] * 9, done.stdout
