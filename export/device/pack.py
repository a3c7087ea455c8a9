"""Packs everything the checks need into one archive, for a machine with a GPU and no network.

The archive holds our Python sources, the built plugin with its cubins, and a script that runs the checks without
installing anything. The libraries are for this machine's processor, or cross-compiled for another.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.wheel import package_files
from mutualformer.export.errors import ExportError
from mutualformer.plugins import library
from mutualformer.plugins.build import build
from mutualformer.runtime.files import replacing

LIMIT_BYTES = 40_000_000
FOLDER = "mutualformer-acceptance"
PROCESSORS = ("x86_64", "aarch64")
_BUILT = ("libplugin_harness.so", "generated/cubins.json", "generated/cubins.bin", "generated/ptx.json")

_RUN = """\
#!/bin/sh
# Runs the acceptance checks from this folder: ./run.sh [OUT] [options of "mutualformer acceptance"].
# PYTHON   a Python with NumPy and cuda-bindings (default: python3)
set -eu
HERE="$(cd "$(dirname "$0")" && pwd)"
OUT="${1:-acceptance}"
[ $# -lt 1 ] || shift
(cd "$HERE" && sha256sum -c --quiet SHA256SUMS) || {
  echo "run.sh: the archive is corrupt: unpack it again" >&2
  exit 1
}
PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}" MUTUALFORMER_PLUGIN="$HERE/build/libmutualformer_plugin.so" \\
  exec "${PYTHON:-python3}" -m mutualformer.export.acceptance --out "$OUT" "$@"
"""

_README = """\
Acceptance checks of MutualFormer's Cross-Diffusion Attention kernels and TensorRT plugin.

    ./run.sh OUT                 all checks in about ten minutes: a line each, OUT/acceptance.json; exit code 1 on FAIL
    ./run.sh OUT --minutes 3     less time: fewer of everything
    ./run.sh OUT --only cubins numerics

Needs an NVIDIA GPU with a driver for CUDA 12.0 or newer, Python 3.10 or newer, NumPy and cuda-bindings, on {machine}.
Nothing is installed, nothing is downloaded. With PyTorch and Triton the jitted kernels are checked too; with TensorRT
and ONNX engines are built and run{model}. Please send OUT/acceptance.json back in any case.
"""


def _compiled_for(processor: str, generated: Path, folder: Path) -> Path:
    """The plugin cross-compiled for ``processor`` with the cubins in ``generated``. Raises ExportError."""
    compiler = f"{processor}-linux-gnu-g++"
    if shutil.which(compiler) is None:
        raise ExportError(f"a pack for {processor} needs {compiler}: sudo apt-get install g++-{processor}-linux-gnu")
    options = (
        "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DCMAKE_ASM_COMPILER={compiler.replace('g++', 'gcc')}",
        f"-DMUTUALFORMER_GENERATED={generated}",
    )
    try:
        return build(folder, ("plugin_record", "plugin_harness"), options)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise ExportError(f"the plugin cannot be cross-compiled for {processor}: {error}") from error


def _built(processor: str) -> dict[str, bytes]:
    try:
        plugin = library.find()
        content, _ = library.read(plugin)
    except library.PluginError as error:
        raise ExportError(str(error)) from error
    generated = plugin.parent / "generated"
    names = [plugin.name, f"{plugin.name}.json", *_BUILT]
    with tempfile.TemporaryDirectory(prefix="mutualformer-pack-") as folder:
        if processor != platform.machine():
            plugin = _compiled_for(processor, generated, Path(folder))
        places = {name: (generated.parent if name.startswith("generated/") else plugin.parent) / name for name in names}
        missing = [name for name, path in places.items() if not path.is_file()]
        if missing:
            raise ExportError(f"{plugin.parent} has no {', '.join(missing)}; build the plugin again with `make plugin`")
        native = (
            {f"build/{plugin.name}": content} if processor == platform.machine() else {}
        )  # the bytes that were checked
        return {f"build/{name}": path.read_bytes() for name, path in places.items()} | native


def pack(out: Path, model: Path | None = None, processor: str = "") -> int:
    """Write the archive ``out`` (.tar.gz); returns its size in bytes.

    ``model``: one of our ONNX files, for the checks with TensorRT. ``processor``: one of :data:`PROCESSORS`, by default
    this machine's. Raises ExportError, also above 40 MB.
    """
    if not out.name.endswith(".tar.gz"):
        raise ExportError(f"{out}: the archive's name must end in .tar.gz")
    processor = processor or platform.machine()
    sources = {name: content for name, content in package_files().items() if name.endswith(".py")}
    files = {**sources, **_built(processor), "run.sh": _RUN.encode()}
    note = ""
    if model is not None:
        files["models/model.onnx"] = model.read_bytes()
        note = " (--model models/model.onnx)"
    files["README.txt"] = _README.format(machine=processor, model=note).encode()
    with replacing(out) as beside:  # an older archive stays until the new one is complete
        write_archive(beside, FOLDER, files)
        size = beside.stat().st_size
        if size > LIMIT_BYTES:
            raise ExportError(
                f"{out}: {size / 1e6:.1f} MB, expected at most {LIMIT_BYTES / 1e6:.0f} MB; leave the model out"
            )
    return size
