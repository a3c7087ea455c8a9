"""The plugin in a bundle: its C++ sources, and its kernels as machine code for one kind of device."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from mutualformer.export.device.wheel import ROOT
from mutualformer.export.engine.targets import Target
from mutualformer.export.errors import ExportError
from mutualformer.extras import install
from mutualformer.plugins.files import scratch


def cubins(target: Target) -> dict[str, bytes]:
    """``source/generated/…``: the kernels compiled for the target's architecture, and their generated tables.

    Raises ExportError where the kernels cannot be compiled (Triton or an assembler is missing).
    """
    from mutualformer.plugins.compile import aot
    from mutualformer.plugins.compile.embed import write_generated

    arch = int(target.capability.replace(".", ""))
    try:
        compiled = aot.compile_all((arch,), aot.default_cache(), len(os.sched_getaffinity(0)))
    except (ModuleNotFoundError, RuntimeError) as error:
        raise ExportError(
            f"the kernels for {target.name} (sm_{arch}) cannot be compiled here ({error}): {install('kernels')}"
        ) from error
    with scratch() as folder:
        write_generated(compiled, folder)
        return {f"source/generated/{path.name}": path.read_bytes() for path in folder.iterdir()}


def can_compile() -> None:
    """Raise ExportError where Triton is missing, which :func:`cubins` needs: the work before it takes minutes."""
    if importlib.util.find_spec("triton") is None:
        raise ExportError(
            f"a bundle contains compiled kernels, which need Python package 'triton': {install('kernels')}"
        )


def plugin_sources(root: Path = ROOT) -> dict[str, bytes]:
    """``source/…``: what CMake needs to build the plugin from compiled cubins; the Python part is in the wheel."""
    paths = [root / "CMakeLists.txt", root / "plugins" / "compile" / "headers.py"]
    for pattern in ("*.cpp", "*.h", "*.S"):
        paths += (root / "plugins" / "cpp").glob(pattern)
    paths.append(root / "plugins" / "harness" / "plugin_harness.cpp")  # acceptance drives the plugin with it
    return {f"source/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def licences(root: Path = ROOT) -> dict[str, bytes]:
    """LICENSE and NOTICE."""
    return {name: (root / name).read_bytes() for name in ("LICENSE", "NOTICE")}
