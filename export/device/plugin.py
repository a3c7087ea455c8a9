"""The plugin as a bundle brings it: its C++ sources, and its kernels as machine code for one kind of device."""

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
    """``source/generated/…``: the kernels compiled for the target's architecture, and the tables around them.

    Raises ExportError where the kernels cannot be compiled (Triton or an assembler is missing).
    """
    from mutualformer.plugins.compile import aot
    from mutualformer.plugins.compile.embed import write_generated

    arch = int(target.capability.replace(".", ""))
    try:
        compiled = aot.compile_all((arch,), aot.default_cache(), len(os.sched_getaffinity(0)))
    except (ModuleNotFoundError, RuntimeError) as error:
        raise ExportError(
            f"the kernels for {target.name} (sm_{arch}) cannot be compiled here ({error}): {install('plugin')}"
        ) from error
    with scratch() as folder:
        write_generated(compiled, folder)
        return {f"source/generated/{path.name}": path.read_bytes() for path in folder.iterdir()}


def can_compile() -> None:
    """Raise ExportError where :func:`cubins` could not work, without the minutes that it may take."""
    for module in ("triton", "setuptools"):  # the kernels, and the wheel that goes with them
        if importlib.util.find_spec(module) is None:
            raise ExportError(
                f"a bundle brings the kernels as machine code, and compiling them needs Python package {module!r}: "
                f"{install('plugin')}"
            )


def plugin_sources(root: Path = ROOT) -> dict[str, bytes]:
    """``source/…``: what CMake needs to build the plugin from ready-made cubins; its Python comes with the wheel.

    Raises ExportError without sources.
    """
    paths = [root / "CMakeLists.txt", root / "plugins" / "compile" / "headers.py"]
    for pattern in ("*.cpp", "*.h", "*.S"):
        paths += (root / "plugins" / "cpp").glob(pattern)
    paths.append(root / "plugins" / "harness" / "plugin_harness.cpp")  # what acceptance drives the plugin with
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ExportError(f"{root} has no {', '.join(missing)}: bundles are made in a checkout of the project")
    return {f"source/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def licences(root: Path = ROOT) -> dict[str, bytes]:
    """LICENSE and NOTICE. Raises ExportError without them."""
    missing = [name for name in ("LICENSE", "NOTICE") if not (root / name).is_file()]
    if missing:
        raise ExportError(f"{root} has no {', '.join(missing)}: bundles are made in a checkout of the project")
    return {name: (root / name).read_bytes() for name in ("LICENSE", "NOTICE")}
