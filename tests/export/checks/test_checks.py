"""The acceptance command on a CPU: every check runs against the stand-in driver, every planted fault is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutualformer.export import acceptance
from mutualformer.export.checks import names, report, runner
from mutualformer.export.checks.rig.outcome import FAIL, PASS, SKIP, Outcome
from mutualformer.export.device.wheel import ROOT
from mutualformer.runtime.session.gpu import compute_capabilities
from tests.plugins import support
from tests.standins.faults import FAULTS

pytestmark = pytest.mark.skipif(bool(compute_capabilities()), reason="a GPU is here: run the command itself")
CAUGHT = [(fault.caught_by, name) for name, fault in FAULTS.items()]


@pytest.fixture(scope="module", autouse=True)
def plugin() -> Iterator[Path]:
    """The built plugin, where the checks' processes find it."""
    pytest.importorskip("triton", reason="Triton is not installed: no kernels can be compiled or interpreted")
    folder = support.built()
    os.environ["MUTUALFORMER_PLUGIN"] = str(folder / "libmutualformer_plugin.so")
    yield folder
    del os.environ["MUTUALFORMER_PLUGIN"]


def _check(name: str, planted: str = "") -> Outcome:
    return runner.run_apart(next(check for check in runner.CHECKS if check.name == name), True, planted)


def test_names_are_those_of_the_checks_and_faults() -> None:
    assert list(names.CHECKS) == [*(check.name for check in runner.CHECKS), runner.TENSORRT]
    assert tuple(FAULTS) == names.FAULTS


@pytest.mark.parametrize("name", [check.name for check in runner.CHECKS])
def test_every_check_passes_on_the_stand_in(name: str) -> None:
    outcome = _check(name)
    assert outcome.state == PASS, outcome.line()
    assert outcome.emulated
    assert not [key for key in outcome.numbers if key.startswith("us_")], "no time of a GPU without one"


@pytest.mark.parametrize(("name", "fault"), CAUGHT)
def test_planted_fault_fails_the_check_that_should_catch_it(name: str, fault: str) -> None:
    outcome = _check(name, fault)
    assert outcome.state == FAIL, outcome.line()
    assert "the check itself broke" not in outcome.detail, outcome.detail


def test_a_crash_ends_one_check_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = runner.run_apart(runner.Check("crash", "no_such_module"), True)
    assert outcome.state == FAIL
    assert "exit code 2 and no result" in outcome.detail
    monkeypatch.setattr(runner, "__file__", runner.__file__)
    assert runner._ended(-11) == "its process was killed by SIGSEGV"


def test_command_writes_a_line_each_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert acceptance.main(["--out", str(tmp_path), "--only", "machine", "cubins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "a GPU's" in lines[0]
    assert [line.split(",")[0].strip() for line in lines[1:3]] == ["machine", "cubins"]
    assert all("PASS [emulated]" in line for line in lines[1:3])
    written = json.loads((tmp_path / report.REPORT).read_text())
    assert [check["check"] for check in written["checks"]] == ["machine", "cubins"]
    assert written["emulated"] is True
    assert acceptance.main(["--out", str(tmp_path), "--only", "cubins", "--plant", "wrong-cubin"]) == 1


def test_exit_code_is_one_on_a_failure_and_where_nothing_passed() -> None:
    def outcomes(*states: str) -> list[Outcome]:
        return [Outcome("x", state, "") for state in states]

    assert report.exit_code(outcomes(PASS, SKIP)) == 0
    assert report.exit_code(outcomes(PASS, FAIL)) == 1
    assert report.exit_code(outcomes(SKIP, SKIP)) == 1


def test_archive_carries_everything_but_pytorch_and_triton(tmp_path: Path) -> None:
    """Unpacked elsewhere and run where only PyTorch, Triton, NumPy and what they need can be imported."""
    archive = tmp_path / "acceptance.tar.gz"
    assert acceptance.main(["--pack", str(archive)]) == 0
    assert archive.stat().st_size <= 40_000_000
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('onnx', 'onnxruntime', 'cv2', 'aiohttp', 'mcap', 'tqdm', 'timm',"
        " 'lightning', 'pycuda'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MUTUALFORMER_PLUGIN"}
    environment |= {"PYTHON": sys.executable, "PYTHONPATH": str(blocked)}
    folder = tmp_path / "mutualformer-acceptance"
    done = subprocess.run(
        ["./run.sh", str(tmp_path / "out"), "--only", "machine", "cubins", "session"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(ROOT) not in done.stdout
    states = {
        row["check"]: row["state"] for row in json.loads((tmp_path / "out" / report.REPORT).read_text())["checks"]
    }
    assert states == {"machine": PASS, "cubins": PASS, "session": PASS}
    (folder / "build" / "libplugin_harness.so").write_bytes(b"")
    assert subprocess.run(["./run.sh"], cwd=folder, env=environment, capture_output=True).returncode == 1
