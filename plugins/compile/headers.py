"""Finds the headers and libraries that CMake needs in the wheels of this Python.

Prints a CMake list of ``key=path``: ``tensorrt`` and ``cuda`` are include directories, ``rtx`` is the TensorRT-RTX
library. Standard library only; it imports no package, so a broken one does no harm.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_folder(name: str) -> Path | None:
    """Folder of an installed package, without importing it; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else None


def rtx_library() -> Path | None:
    """libtensorrt_rtx.so.N of the tensorrt_rtx wheel, None if it is not installed."""
    for name in ("tensorrt_rtx_libs", "tensorrt_rtx"):
        folder = package_folder(name)
        libraries = sorted(folder.glob("libtensorrt_rtx.so.*")) if folder else []
        if libraries:
            return libraries[0]
    return None


def include_folders() -> list[tuple[str, Path]]:
    """(key, folder) for every wheel that carries TensorRT's or CUDA's headers."""
    folders: list[tuple[str, Path]] = []
    cuda = ("cuda_runtime_api.h", "crt/host_defines.h")  # some runtime wheels lack crt/, which the first includes
    for key, package, inside, headers in (
        ("tensorrt", "kernel_lens", "include/tensorrt", ("NvInferRuntime.h",)),
        ("cuda", "nvidia.cu13", "include", cuda),
        ("cuda", "nvidia.cuda_runtime", "include", cuda),
        ("cuda", "triton", "backends/nvidia/include", cuda),
    ):
        folder = package_folder(package)
        if folder is not None and all((folder / inside / header).is_file() for header in headers):
            folders.append((key, folder / inside))
    return folders


if __name__ == "__main__":
    rtx = rtx_library()
    rows = include_folders() + ([("rtx", rtx)] if rtx else [])
    print(";".join(f"{key}={path}" for key, path in rows))
