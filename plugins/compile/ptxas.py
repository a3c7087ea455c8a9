"""Finds the assembler for each architecture, and the inspection tools.

All come from pip: ptxas 12.6 from nvidia-cuda-nvcc-cu12, newer ones and cuobjdump and nvdisasm from triton.
Standard library only.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from mutualformer.plugins.architectures import TABLE
from mutualformer.plugins.compile.headers import package_folder


@functools.lru_cache
def _version(ptxas: Path) -> tuple[int, int]:
    text = subprocess.run([ptxas, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = re.search(r"release (\d+)\.(\d+)", text).groups()  # type: ignore[union-attr]
    return int(major), int(minor)


def ptx_version(ptxas: tuple[int, int]) -> int:
    """The newest PTX version an assembler knows, in Triton's numbers: 12.6 → 85, 12.9 → 88, 13.x → 90."""
    major, minor = ptxas
    return 80 + minor - (minor >= 6) if major == 12 else 90


def find_triton_tool(name: str) -> Path:
    """cuobjdump, nvdisasm, ptxas or ptxas-blackwell of the triton package. Raises RuntimeError if it is missing."""
    folder = package_folder("triton")
    path = folder / "backends" / "nvidia" / "bin" / name if folder else Path(name)
    if not path.is_file():
        raise RuntimeError(f"{name} was not found in the triton package: pip install triton")
    return path


def find_ptxas(arch: int) -> tuple[Path, tuple[int, int]]:
    """The assembler for ``arch`` and its version. Raises RuntimeError naming what to install."""
    limit = TABLE[arch].ptxas
    if limit is None:
        path = find_triton_tool("ptxas-blackwell" if TABLE[arch].blackwell else "ptxas")
        return path, _version(path)
    candidates: list[Path] = []
    if "MUTUALFORMER_PTXAS" in os.environ:
        candidates.append(Path(os.environ["MUTUALFORMER_PTXAS"]))
    if folder := package_folder("nvidia.cuda_nvcc"):
        candidates.append(folder / "bin" / "ptxas")
    candidates.append(Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "ptxas")
    versions = [(path, _version(path)) for path in candidates if path.is_file()]
    for path, version in versions:
        if version <= limit:
            return path, version
    newest = ".".join(map(str, limit))
    raise RuntimeError(
        f"sm_{arch} needs ptxas {newest} or older (found {[f'{p} {v[0]}.{v[1]}' for p, v in versions] or 'none'}): "
        "pip install nvidia-cuda-nvcc-cu12==12.6.85"
    )
