"""What `make setup` installs into .venv, said before and measured after. Standard library only; run by .venv's Python.

Where there is no NVIDIA GPU and the index offers them, PyTorch comes as CPU wheels: about 4 GB less on the disk.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def has_nvidia_gpu() -> bool:
    """A driver is loaded here (desktop, server or Jetson)."""
    signs = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0")
    return shutil.which("nvidia-smi") is not None or any(Path(sign).exists() for sign in signs)


def pinned(name: str) -> str:
    """The version of a package in constraints.txt. Raises SystemExit when it is not there."""
    match = re.search(rf"^{re.escape(name)}==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if not match:
        raise SystemExit(f"{CONSTRAINTS}: no version of {name}, expected a line {name}==VERSION")
    return match[1]


def cpu_wheels() -> list[str]:
    """pip arguments for PyTorch and torchvision without CUDA, in the pinned versions; empty where none are offered."""
    pins = [f"{name}=={pinned(name)}+cpu" for name in ("torch", "torchvision")]
    for index in ([], ["--extra-index-url", CPU_INDEX]):
        question = [
            "install",
            "--dry-run",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--retries=0",
            "--timeout=10",
        ]
        if subprocess.run([*PIP, *question, *index, *pins], capture_output=True, check=False).returncode == 0:
            return [*index, *pins]
    return []


def megabytes(folder: Path) -> int:
    """Size of everything below ``folder`` in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) // 10**6


def main() -> int:
    """Install; returns pip's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, separated by commas")
    args = parser.parse_args()

    torch: list[str] = []
    what = f"mutualformer[{args.extras}]" if args.extras else "mutualformer with its base dependencies"
    if "train" in args.extras.split(","):
        torch = [] if has_nvidia_gpu() else cpu_wheels()
        size = "about 4 GB on the disk"
        if torch:
            note = "; no NVIDIA GPU here, so PyTorch comes as CPU wheels"
        else:
            size = "about 8 GB on the disk, half of it CUDA libraries"
            note = (
                ""
                if has_nvidia_gpu()
                else "; no NVIDIA GPU here, but the package index offers no CPU wheels of PyTorch"
            )
    else:
        size, note = "about 500 MB on the disk", ""
    print(f"installing {what} into {sys.prefix}: {size}, minutes{note}", flush=True)

    # Python compiles a module when it is first imported; most of these gigabytes never are.
    install = [*PIP, "install", "--quiet", "--no-compile", "-c", str(CONSTRAINTS)]
    steps = [[*install, "--upgrade", "pip"]]
    if torch:
        steps.append([*install, *torch])
    steps.append([*install, "-e", f"{ROOT}[{args.extras}]" if args.extras else str(ROOT)])
    for step in steps:
        process = subprocess.run(step, check=False)
        if process.returncode:
            return process.returncode
    print(f"installed: {sys.prefix} holds {megabytes(Path(sys.prefix))} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
