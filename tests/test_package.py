"""The wheel: one import package that a user's own train.py, export.py, runtime.py and plugins/ cannot break."""

from __future__ import annotations

import collections
import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mutualformer
from mutualformer.runtime.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("plugins", "runtime", "train", "export")
FILES = ("pyproject.toml", "setup.py", "README.md", "CMakeLists.txt", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: a build leaves folders in the tree it is started in."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("mutualformer", *STAGES):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project whose modules have our stages' names; the wheel is unpacked in its folder ``site``."""
    folder = tmp_path_factory.mktemp("project")
    for stage in STAGES:
        text = f"raise RuntimeError('the project has a {stage} of its own, and it was imported')\n"
        (folder / f"{stage}.py").write_text(text)
    (folder / "plugins.py").unlink()
    (folder / "plugins").mkdir()
    (folder / "plugins" / "__init__.py").write_text("raise RuntimeError('the project has plugins of its own')\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python in the project's folder, which is first on its path; ours is the unpacked wheel."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project / "site"), "HOME": str(project)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


def test_it_holds_one_package_with_every_module_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        facts = email.message_from_bytes(archive.read(metadata))
    info = metadata.split("/")[0]
    assert {name.split("/")[0] for name in names} == {"mutualformer", info}
    sources = [path for stage in STAGES for path in (ROOT / stage).rglob("*.py") if "__pycache__" not in path.parts]
    assert {f"mutualformer/{path.relative_to(ROOT).as_posix()}" for path in sources} <= names
    page = {path.name for path in (ROOT / "runtime" / "preview").iterdir() if path.suffix in (".html", ".css", ".js")}
    assert {f"mutualformer/runtime/preview/{name}" for name in page} <= names
    assert {"mutualformer/py.typed", f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= names
    assert (facts["Version"], facts["License-Expression"]) == (mutualformer.__version__, "Apache-2.0")


def test_it_holds_no_laboratory_no_stand_in_and_no_training_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("mutualformer/")]
    assert not [name for name in names if name.endswith(".safetensors")]
    assert "mutualformer/models/sod-lite.onnx" in names
    strange = ("standin", "stand_in", "emulat", "study", "sweep", "trial", "lab/", "tests/")
    assert not [name for name in names if any(word in name.lower() for word in strange)]
    bases = collections.Counter(name.rsplit("/", 1)[1] for name in names)
    del bases["__init__.py"]
    assert not {base: count for base, count in bases.items() if count > 2}, "a name says what a file is"


@pytest.mark.parametrize("left", [None, "plugins"])
def test_a_checkout_without_links_builds_nothing(left: str | None, tmp_path: Path) -> None:
    """As git checks symbolic links out where it may not make any: files that hold the target's path."""
    (tmp_path / "mutualformer").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mutualformer" / "__init__.py", tmp_path / "mutualformer")
    for stage in STAGES:
        if stage == left:
            shutil.copytree(ROOT / stage, tmp_path / "mutualformer" / stage)
        else:
            (tmp_path / "mutualformer" / stage).write_text(f"../{stage}")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
    done = subprocess.run([*command, str(tmp_path / "out"), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "symbolic link" in done.stderr
    assert not list(tmp_path.glob("out/*.whl"))


@pytest.mark.slow
def test_it_works_beside_a_project_with_the_same_names(project: Path) -> None:
    program = (
        "import mutualformer, sys\n"
        "from mutualformer.plugins import library\n"
        "from mutualformer.runtime.session import load\n"
        "print(mutualformer.__file__)\n"
        "load('a.engine')\n"
    )
    done = run(project, "-c", program)
    assert Path(done.stdout.strip()).is_relative_to(project / "site")
    assert "a.engine: no such model file" in done.stderr
    assert "of its own" not in done.stderr
    for verb in VERBS:
        done = run(project, "-m", "mutualformer.runtime.cli", verb, "--help")
        assert done.returncode == 0, (verb, done.stderr)
        assert done.stdout.startswith(f"usage: mutualformer {verb}"), done.stdout


def test_importing_it_is_quick_and_brings_no_torch(project: Path) -> None:
    program = (
        "import time\n"
        "began = time.process_time()\n"
        "import mutualformer\n"
        "print(time.process_time() - began)\n"
        "import sys\n"
        "print(sorted({'torch', 'numpy', 'onnxruntime', 'cv2'} & set(sys.modules)))\n"
    )
    answers = [run(project, "-c", program).stdout.split("\n") for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in answers) < 0.3
    assert {loaded for _, loaded, *_ in answers} == {"[]"}
