"""Puts the wheel of a bundle together from the files of this package: the same files give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from fnmatch import fnmatch
from importlib.metadata import distributions
from pathlib import Path

import mutualformer
from mutualformer import __version__
from mutualformer.export.errors import ExportError

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the package where it is installed."""

_PACKAGE = Path(mutualformer.__file__).resolve().parent
# What builds and interpreters leave beside the sources, and training weights, which no device reads.
_LEFT_OUT = ("*.pyc", "*.so", "*.so.json", "*.safetensors")
# Files that an installer adds to those of a wheel, or changes.
_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def package_files() -> dict[str, bytes]:
    """Path in the wheel → content of every file of this package, sorted; the stages of a checkout are links."""
    files = {}
    for folder, _, names in os.walk(_PACKAGE, followlinks=True):
        for name in names:
            if not any(fnmatch(name, pattern) for pattern in _LEFT_OUT):
                path = Path(folder, name)
                files[f"mutualformer/{path.relative_to(_PACKAGE).as_posix()}"] = path.read_bytes()
    return dict(sorted(files.items()))


def build_wheel() -> tuple[str, bytes]:
    """(file name, bytes) of the wheel. Raises ExportError in a checkout that is not installed."""
    # A checkout also holds what its last build left, an .egg-info without the files of a wheel.
    ours = next((one for one in distributions(name="mutualformer") if one.read_text("METADATA")), None)
    if ours is None:
        raise ExportError(f"a bundle holds this package's wheel, and {ROOT} is not installed; run: pip install -e .")
    about, files = f"mutualformer-{__version__}.dist-info", package_files()
    for path in sorted(ours.files or ()):
        if path.parts[0].endswith(".dist-info") and path.name not in _INSTALLER:
            files["/".join((about, *path.parts[1:]))] = Path(str(ours.locate_file(path))).read_bytes()
    # An editable installation keeps the version of the day it was made.
    name, old = f"{about}/METADATA", f"\nVersion: {ours.version}\n"
    files[name] = files[name].replace(old.encode(), f"\nVersion: {__version__}\n".encode(), 1)
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    files[f"{about}/RECORD"] = "".join([*lines, f"{about}/RECORD,,\n"]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # ZipInfo's date is always 1980
    return f"mutualformer-{__version__}-py3-none-any.whl", out.getvalue()
