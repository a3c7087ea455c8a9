"""Builds the plugin with CMake and Ninja: ``python -m mutualformer.plugins.build`` (what ``make plugin`` runs).

It uses the cmake and ninja that pip installed beside this Python, or those on PATH. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mutualformer.plugins.library import LIBRARY

ROOT = Path(__file__).resolve().parent.parent


def _tool(name: str) -> str:
    """Path of a program, preferring the one installed beside this Python."""
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if program is None:
        raise FileNotFoundError(f"{name} was not found beside {sys.executable} or on PATH: pip install {name}")
    return program


def build(folder: Path, targets: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Path:
    """Configure and build in ``folder``; returns the library's path.

    ``targets``: CMake targets instead of the default ones. ``options``: e.g. "-DMUTUALFORMER_ARCHITECTURES=87".
    Raises FileNotFoundError for a missing program and subprocess.CalledProcessError when CMake or the compiler fails.
    """
    cmake = _tool("cmake")
    configure = [cmake, "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"]
    output = subprocess.DEVNULL if (folder / "build.ninja").is_file() else None
    subprocess.run([*configure, f"-DPython_EXECUTABLE={sys.executable}", *options], check=True, stdout=output)
    command = [cmake, "--build", str(folder)]
    if targets:
        command += ["--target", *targets]
    subprocess.run(command, check=True, env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"})
    return folder / LIBRARY


def main(argv: list[str] | None = None) -> int:
    """Build into build/plugins, where plugins/library.py looks."""
    parser = argparse.ArgumentParser(prog="python -m mutualformer.plugins.build", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "plugins")
    parser.add_argument("--architectures", default="", help="e.g. 87 on a Jetson Orin; default: all")
    args = parser.parse_args(argv)
    try:
        print(build(args.out, options=(f"-DMUTUALFORMER_ARCHITECTURES={args.architectures}",)))
    except FileNotFoundError as error:
        print(f"plugins.build: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"plugins.build: {error.cmd[0]} failed (exit code {error.returncode}), see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
