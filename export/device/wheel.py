"""Builds the wheel of a bundle: the same sources give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from mutualformer.export.errors import ExportError
from mutualformer.plugins.files import scratch

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the package where it is installed."""

_NEEDED = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "CMakeLists.txt",
    "LICENSE",
    "NOTICE",
    "mutualformer",
    "plugins",
    "runtime",
    "train",
    "export",
)
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "*.so.json", "*.egg-info", "*.safetensors")
# Files that an installer adds to those of a wheel, or changes.
_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_EPOCH = "315532800"  # SOURCE_DATE_EPOCH of the build: 1980-01-01, the earliest date of a zip file


def _copy(root: Path, folder: Path) -> None:
    """Copy the sources of the wheel: a build in the checkout itself would pick up files of older builds."""
    for name in _NEEDED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=_LEFT_OUT)
        elif source.is_file():
            shutil.copyfile(source, folder / name)
        else:
            raise ExportError(f"{source} is missing: bundles are made in a checkout of the project")


def _installed_wheel() -> tuple[str, bytes]:
    """The wheel that this package was installed from, put together again from its files."""
    ours = distribution("mutualformer")
    about = f"mutualformer-{ours.version}.dist-info"
    kept = sorted(
        str(path)
        for path in ours.files or ()
        if path.parts[0] in ("mutualformer", about) and path.suffix != ".pyc" and path.name not in _INSTALLER
    )
    record, out = [], io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in kept:
            data = Path(str(ours.locate_file(name))).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        name = f"{about}/RECORD"
        archive.writestr(zipfile.ZipInfo(name), "".join([*record, f"{name},,\n"]))
    return f"mutualformer-{ours.version}-py3-none-any.whl", out.getvalue()


def build_wheel(root: Path = ROOT) -> tuple[str, bytes]:
    """(file name, bytes) of the wheel. Raises ExportError with pip's last line where it cannot be built."""
    if not (root / "pyproject.toml").is_file():
        return _installed_wheel()
    with scratch() as place:
        sources, out = place / "sources", place / "out"
        sources.mkdir()
        _copy(root, sources)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-index", "--no-build-isolation", "--wheel-dir", str(out), str(sources)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"}
        process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place)
        wheels = sorted(out.glob("*.whl")) if out.is_dir() else []
        if process.returncode or len(wheels) != 1:
            lines = (process.stderr.strip() or process.stdout.strip() or "no message").splitlines()
            raise ExportError(f"pip cannot build the wheel: {lines[-1]}; pip install 'setuptools>=77' and try again")
        return wheels[0].name, wheels[0].read_bytes()
