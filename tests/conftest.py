"""Fixtures shared by all stages: one small model, really trained for a moment and exported once per test run."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

settings.register_profile("mutualformer", deadline=None)  # a busy machine's pauses are no fault of what is tested
settings.load_profile("mutualformer")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a shell: so would be all children
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before any test imports PyTorch, see train/__init__.py
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # threads of one worker would take the cores of the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")

BY_CLOCK = Path(__file__).parent / "runtime"
NANO_SIZE = (64, 96)  # multiples of 32, not square, small enough for seconds
NANO_DATA = "synthetic:96?seed=7"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker ends with one alone; the many short ones of the runtime fill up the end.

    One file that exports the small model begins: those that wait for it come when it is there. Last comes what loads
    the stand-in for the CUDA driver: it stays loaded, and no other test shall find it. With ``--dist loadfile
    --no-loadscope-reorder`` every worker keeps that order.
    """
    order = ("tests/export/device/test_repository.py", "tests/test_", "tests/train/", "tests/export/", "tests/")

    def turn(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parents[1]).as_posix()
        return len(order) * ("/plugins/cpp/" in path) + next(at for at, part in enumerate(order) if part in path)

    items.sort(key=turn)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Tests that watch threads, processes or a browser by the clock are tried once more where they fail.

    On a machine that is shared with others one of them may be late. A test that fails twice fails, and the summary
    names one that passed the second time.
    """
    if not item.path.is_relative_to(BY_CLOCK):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed for report in reports):
        reason = next(report.longreprtext for report in reports if report.failed).strip().splitlines()[-1:]
        item._initrequest()  # type: ignore[attr-defined]  # as pytest does for a test that was not run
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not any(report.failed for report in reports):
            item.warn(pytest.PytestWarning(f"{item.nodeid} failed once and then passed: {reason}"))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Names that are no UTF-8 stand in messages of ours; the workers' wire takes text that is."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return type(value)(map(_encodable, value)) if type(value) in (list, tuple) else value


def once_a_run(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` of this test run, filled by ``make``: by one worker, while the others wait."""
    root = factory.getbasetemp().parent if WORKER else factory.getbasetemp()
    folder, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder


@dataclass(frozen=True)
class ModelFiles:
    """Paths of one model in two formats."""

    checkpoint: Path
    onnx: Path


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """The shipped ``sod-nano`` at 64 × 96, one step later: quick, with the activations of a trained network."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from mutualformer.export.graph.from_checkpoint import export_onnx
    from mutualformer.train import checkpoint
    from mutualformer.train.fitting.config import FitConfig
    from mutualformer.train.fitting.recipes import recipe
    from mutualformer.train.fitting.training import fit

    one = dataclasses.replace(recipe("finetune"), steps=1, batch=2, stages=((0.0, 64),))
    overrides = {"input_size": NANO_SIZE}

    def make(folder: Path) -> None:
        weights = fit(FitConfig("sod-nano", NANO_DATA, folder, one, overrides=overrides, init="sod-nano", workers=0))
        export_onnx(checkpoint.load(weights), folder / "model.onnx")

    folder = once_a_run(tmp_path_factory, "nano", make)
    return ModelFiles(folder / "model.safetensors", folder / "model.onnx")


@pytest.fixture(scope="session")
def reid(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """``reid-tiny`` with seeded random weights."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from mutualformer.export.graph.from_checkpoint import export_onnx
    from mutualformer.train import checkpoint, registry

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        weights = checkpoint.save(folder / "model.safetensors", registry.build("reid-tiny"), {})
        export_onnx(checkpoint.load(weights), folder / "model.onnx")

    folder = once_a_run(tmp_path_factory, "reid", make)
    return ModelFiles(folder / "model.safetensors", folder / "model.onnx")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder with the real RGB-D pair."""
    folder = os.environ.get("MUTUALFORMER_SAMPLES")
    if not folder or not (Path(folder) / "motorcycle" / "rgb.png").is_file():
        pytest.skip("MUTUALFORMER_SAMPLES does not name a folder with motorcycle/rgb.png")
    return Path(folder)
