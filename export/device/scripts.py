"""The two shell scripts and the page that a bundle brings along."""

from __future__ import annotations

from collections.abc import Sequence

from mutualformer.export.engine.targets import Target

_BUILD = """\
#!/bin/sh
# Builds the plugin and one engine on the device this is for.
#   ./build.sh [tensorrt|rtx] [@CHOICES@] [options of "mutualformer to_trt", e.g. --batch 1 1 1]
# PYTHON   the Python to start from (default: python3)
# EXTRAS   extras of the wheel to install (default: pycuda, which runs engines; with rtx also TensorRT-RTX itself)
# TENSORRT_INCLUDE, CUDA_INCLUDE   folders of NvInferRuntime.h and cuda_runtime_api.h where CMake does not find them
set -eu
cd "$(dirname "$0")"
FLAVOR="${1:-@FLAVOR@}"
PRECISION="${2:-@PRECISION@}"
[ $# -lt 1 ] || shift
[ $# -lt 1 ] || shift
fail() { echo "build.sh: $*" >&2; exit 1; }
case "$FLAVOR" in
  tensorrt) SITE=--system-site-packages; EXTRAS="${EXTRAS-pycuda}" ;;  # JetPack's TensorRT is a system package
  rtx) SITE=; EXTRAS="${EXTRAS-rtx,pycuda}"; @RTX@ ;;
  *) fail "flavour is '$FLAVOR', expected tensorrt or rtx" ;;
esac
MODEL="models/model.$PRECISION.onnx"
[ -f "$MODEL" ] || fail "precision is '$PRECISION', this bundle holds @CHOICES@"
for tool in cmake c++ sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is missing: sudo apt-get install cmake g++ coreutils"
done
sha256sum -c --quiet SHA256SUMS || fail "the bundle is damaged: unpack it again"
WHEEL="$(echo wheels/mutualformer-*.whl)"
if [ ! -f .venv/.ready ] || ! cmp -s .venv/.ready SHA256SUMS; then
  # shellcheck disable=SC2086
  "${PYTHON:-python3}" -m venv --clear $SITE .venv || fail "no virtual environment: sudo apt-get install python3-venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$WHEEL${EXTRAS:+[$EXTRAS]}"
  cp SHA256SUMS .venv/.ready
fi
HERE="$(pwd)"
cmake -S source -B build -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$HERE/.venv/bin/python" \\
  -DMUTUALFORMER_GENERATED="$HERE/source/generated" \\
  ${TENSORRT_INCLUDE:+"-DTENSORRT_INCLUDE=$TENSORRT_INCLUDE"} ${CUDA_INCLUDE:+"-DCUDA_INCLUDE=$CUDA_INCLUDE"}
cmake --build build
# Beside plugins/library.py, where every program of this environment looks for them.
PACKAGE="$(.venv/bin/python -c 'from mutualformer import plugins; print(*plugins.__path__)')"
cp build/lib*.so build/lib*.so.json "$PACKAGE"
mkdir -p engines
.venv/bin/mutualformer to_trt "$MODEL" \\
  -o "engines/model.$PRECISION.engine" --flavor "$FLAVOR" "$@"
echo "engines/model.$PRECISION.engine" > engines/current
"""

_RUN = """\
#!/bin/sh
# Runs the engine that build.sh made last, or the file that $MODEL names (an .onnx file of models/ needs no GPU).
#   ./run.sh SOURCE [options of "mutualformer stream"]     e.g. ./run.sh realsense:// --preview 127.0.0.1:8080
#   ./run.sh --once [SOURCE] [options]                     one frame, one JSON line (default: a synthetic frame)
set -eu
HERE="$(cd "$(dirname "$0")" && pwd)"
fail() { echo "run.sh: $*" >&2; exit 1; }
[ -x "$HERE/.venv/bin/mutualformer" ] || fail "nothing is installed yet: run ./build.sh first"
if [ -z "${MODEL:-}" ]; then
  [ -f "$HERE/engines/current" ] || fail "no engine yet: run ./build.sh first, or name a file with MODEL=models/…onnx"
  MODEL="$HERE/$(cat "$HERE/engines/current")"
fi
[ $# -gt 0 ] || fail "SOURCE is missing, e.g. ./run.sh realsense://"
if [ "$1" = --once ]; then
  shift
  SOURCE="${1:-synthetic://?seed=1}"
  [ $# -lt 1 ] || shift
  exec "$HERE/.venv/bin/mutualformer" stream "$SOURCE" --model "$MODEL" --frames 1 --json --quiet "$@"
fi
exec "$HERE/.venv/bin/mutualformer" stream "$@" --model "$MODEL"
"""

_README = """\
@MODEL@ for @DEVICE@ (@TARGET@, compute capability @CAPABILITY@)

On the device, with a network for the Python packages:

    sudo apt-get install cmake g++ python3-venv      # and TensorRT's and CUDA's headers, which JetPack brings
    sha256sum -c SHA256SUMS
    ./build.sh                                       # plugin and @PRECISION@ engine, flavour @FLAVOR@
    ./run.sh realsense:// --preview 127.0.0.1:8080
    ./run.sh --once                                  # one synthetic frame, one JSON line

models/              one ONNX file per precision (@CHOICES@) with its contract
models/calibration.json   how each was made: calibration data, method, frames, what stays in FP16 and FP32
source/              the plugin's C++ sources; source/generated holds its kernels as machine code for sm_@ARCH@ only
wheels/              our runtime part: no PyTorch, no Triton; Python 3.10 or newer
build.sh, run.sh     say at their top what they take
SHA256SUMS           of every file here; build.sh checks it first

The machine code was compiled where this bundle was made and has not been run there on the device's GPU.
An .onnx file of models/ runs in ONNX Runtime without GPU and plugin:

    MODEL=models/model.@PRECISION@.onnx ./run.sh --once
"""


def default_precision(precisions: Sequence[str]) -> str:
    """What build.sh builds when nothing is said: FP16 where there is one."""
    return "fp16" if "fp16" in precisions else precisions[0]


def scripts(target: Target, model: str, precisions: Sequence[str]) -> dict[str, bytes]:
    """build.sh, run.sh and README.txt. ``model``: registry name."""
    serves = "rtx" in target.flavors
    note = (
        f"TensorRT-RTX does not serve the {target.device}: this engine is a check of the build and will not run on it"
    )
    words = {
        "RTX": f'set -- --target {target.name} "$@"' if serves else f'echo "build.sh: {note}" >&2',
        "TARGET": target.name,
        "DEVICE": target.device,
        "CAPABILITY": target.capability,
        "ARCH": target.capability.replace(".", ""),
        "FLAVOR": target.flavors[0],
        "MODEL": model,
        "PRECISION": default_precision(precisions),
        "CHOICES": "|".join(precisions),
    }
    texts = {"build.sh": _BUILD, "run.sh": _RUN, "README.txt": _README}
    for word, value in words.items():
        texts = {path: text.replace(f"@{word}@", value) for path, text in texts.items()}
    return {path: text.encode() for path, text in texts.items()}
