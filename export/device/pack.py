"""Everything the checks need in one archive, for a machine with a GPU, PyTorch and Triton, and no network.

The archive holds our Python sources, the built plugin with its cubins, and a script that runs the checks from there;
nothing is installed. The libraries are for the processor that they were built on.
"""

from __future__ import annotations

import platform
from importlib import resources
from pathlib import Path

from mutualformer.export.device.archive import write_archive
from mutualformer.export.errors import ExportError
from mutualformer.plugins import library
from mutualformer.runtime.files import replacing

LIMIT_BYTES = 40_000_000
FOLDER = "mutualformer-acceptance"
STAGES = ("plugins", "runtime", "train", "export")
_BUILT = ("libplugin_harness.so", "libtest_cuda_driver.so", "generated/cubins.json", "generated/cubins.bin")
_OPTIONAL = ("generated/ptx.json", "generated/ptx.bin")

_RUN = """\
#!/bin/sh
# Runs the acceptance checks from this folder: ./run.sh [OUT] [options of "mutualformer acceptance"].
# PYTHON   a Python with PyTorch and Triton (default: python3)
set -eu
HERE="$(cd "$(dirname "$0")" && pwd)"
OUT="${1:-acceptance}"
[ $# -lt 1 ] || shift
(cd "$HERE" && sha256sum -c --quiet SHA256SUMS) || {
  echo "run.sh: the archive is damaged: unpack it again" >&2
  exit 1
}
PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}" MUTUALFORMER_PLUGIN="$HERE/build/libmutualformer_plugin.so" \\
  exec "${PYTHON:-python3}" -m mutualformer.export.acceptance --out "$OUT" "$@"
"""

_README = """\
Acceptance checks of MutualFormer's Cross-Diffusion Attention kernels and TensorRT plugin.

    ./run.sh OUT            all checks; one line each, OUT/acceptance.json beside; exit code 1 on any FAIL
    ./run.sh OUT --only cubins numerics
    ./run.sh OUT --emulate  without a GPU, in Triton's interpreter

Needs an NVIDIA GPU with a driver for CUDA 12.0 or newer, Python 3.10 or newer, PyTorch, Triton and NumPy, on {machine}.
Nothing is installed, nothing is downloaded. With TensorRT and ONNX installed, engines are built and run too{model}.
Please send OUT/acceptance.json back, whatever it says.
"""


def _sources() -> dict[str, bytes]:
    package = Path(str(resources.files("mutualformer")))
    files = {"mutualformer/__init__.py": (package / "__init__.py").read_bytes()}
    for stage in STAGES:
        root = (package / stage).resolve()
        for path in sorted(root.rglob("*.py")):
            files[f"mutualformer/{stage}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return files


def _built() -> dict[str, bytes]:
    try:
        plugin = library.find()
        content, _ = library.read(plugin)
    except library.PluginError as error:
        raise ExportError(str(error)) from error
    names = [plugin.name, f"{plugin.name}.json", *_BUILT]
    names += [name for name in _OPTIONAL if (plugin.parent / name).is_file()]
    missing = [name for name in names if not (plugin.parent / name).is_file()]
    if missing:
        raise ExportError(f"{plugin.parent} has no {', '.join(missing)}; build the plugin again with `make plugin`")
    return {f"build/{name}": (plugin.parent / name).read_bytes() for name in names} | {f"build/{plugin.name}": content}


def pack(out: Path, model: Path | None = None) -> int:
    """Write the archive ``out`` (.tar.gz); returns its size in bytes.

    ``model``: an ONNX file of ours for the checks with TensorRT. Raises ExportError, also above 40 MB.
    """
    if not out.name.endswith(".tar.gz"):
        raise ExportError(f"{out}: the archive's name must end in .tar.gz")
    files = {**_sources(), **_built(), "run.sh": _RUN.encode()}
    note = ""
    if model is not None:
        files["models/model.onnx"] = model.read_bytes()
        note = " (--model models/model.onnx)"
    files["README.txt"] = _README.format(machine=platform.machine(), model=note).encode()
    with replacing(out) as beside:  # what stands there stays until the new one is good
        write_archive(beside, FOLDER, files)
        size = beside.stat().st_size
        if size > LIMIT_BYTES:
            raise ExportError(
                f"{out}: {size / 1e6:.1f} MB, expected at most {LIMIT_BYTES / 1e6:.0f} MB; leave the model out"
            )
    return size
