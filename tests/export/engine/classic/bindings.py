"""Classic TensorRT's Python bindings as the package index has them, without NVIDIA's library behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.plugins.support import ROOT

HERE = Path(__file__).parent
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def download(version: str) -> Path:
    """The unpacked wheel of a version, as package ``tensorrt`` in a folder of its own; kept for the next run.

    Skips where pip finds none: no index, or no wheel for this Python.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mutualformer-tests"
    folder = cache / f"tensorrt-{version}-cp{sys.version_info.major}{sys.version_info.minor}"
    if (folder / "tensorrt").is_dir():
        return folder
    wheels = folder / "wheels"
    name = f"tensorrt-cu12-bindings=={version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(wheels)]
    done = subprocess.run([*pip, name], capture_output=True, text=True, timeout=300)
    found = sorted(wheels.glob("*.whl"))
    if done.returncode or not found:
        pytest.skip(f"pip has no {name} for this Python here: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(folder)
    shutil.rmtree(wheels)
    (folder / "tensorrt_bindings").rename(folder / "tensorrt")
    return folder


def libraries(source: str, version: str, folder: Path) -> Path:
    """``source`` compiled under the names of the three libraries that the bindings of ``version`` load."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder.mkdir()
    major = version.partition(".")[0]
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{file}", "-o", str(folder / file)]
        subprocess.run([compiler, *options, str(HERE / source), "-ldl"], check=True)
    return folder


def run(code: str, wheel: Path, library: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a process in which ``import tensorrt`` finds the wheel and its libraries in ``library``."""
    path = os.pathsep.join([str(wheel), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": str(library), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
