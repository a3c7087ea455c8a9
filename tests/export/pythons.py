"""Which interpreters, headers and package index this machine has, for the tests that build as a device would."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.plugins.compile.headers import include_folders


@functools.lru_cache
def python310() -> str | None:
    """A Python 3.10 that runs: on PATH or of pyenv; None where there is none."""
    candidates = [shutil.which("python3.10"), *map(str, sorted(Path.home().glob(".pyenv/versions/3.10*/bin/python3")))]
    for path in filter(None, candidates):
        done = subprocess.run([path, "-c", "import venv, sys; print(sys.version_info[:2])"], capture_output=True)
        if done.stdout.strip() == b"(3, 10)":
            return path
    return None


def clean_environment() -> dict[str, str]:
    """This process's environment without what would let another environment's packages or tools in."""
    out = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MUTUALFORMER_PLUGIN", "TRITON_INTERPRET", "MODEL"}
    kept = {key: value for key, value in os.environ.items() if key not in out}
    here = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p != here)
    return kept


@functools.lru_cache
def index_reachable() -> bool:
    """Whether pip finds a package it does not have; offline it says no after one attempt."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
    command += ["--retries", "0", "--timeout", "10", "--disable-pip-version-check", "mcap"]
    return subprocess.run(command, capture_output=True).returncode == 0


def header_folders() -> dict[str, str]:
    """Folders of TensorRT's and CUDA's headers, which a device has from JetPack."""
    actual = {key: folder for key, folder in reversed(include_folders()) if key == "tensorrt" or _complete(folder)}
    if _complete(Path("/usr/local/cuda/include")):
        actual["cuda"] = Path("/usr/local/cuda/include")
    if set(actual) != {"tensorrt", "cuda"}:
        pytest.skip(f"TensorRT and CUDA headers are needed, found {sorted(actual)}")
    return {"TENSORRT_INCLUDE": str(actual["tensorrt"]), "CUDA_INCLUDE": str(actual["cuda"])}


def _complete(folder: Path) -> bool:
    return (folder / "crt" / "host_defines.h").is_file()  # the cu13 runtime wheel lacks what its own header includes
