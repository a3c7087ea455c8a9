#!/bin/sh
# Builds the plugin and one engine on the device this bundle is for, compares the engine with its ONNX file on the
# GPU, and only then makes it the one that run.sh runs.
#   ./build.sh [tensorrt|rtx] [PRECISION] [options of "mutualformer to_trt", e.g. --batch 1 1 4]
# PYTHON   the Python to start from (default: python3)
# EXTRAS   further extras of the wheel, e.g. "oak" or "orbbec,rerun": installed without hashes, with a warning
# DATA     frames on which the engine is compared (default: synthetic:16?seed=500001; better: a recording of yours)
# TENSORRT_INCLUDE, CUDA_INCLUDE   folders of NvInferRuntime.h and cuda_runtime_api.h where CMake does not find them
set -eu
cd "$(dirname "$0")"
# shellcheck source=/dev/null
. ./target.env
say() { echo "build.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

FLAVOR="${1:-$DEFAULT_FLAVOR}"
PRECISION="${2:-$DEFAULT_PRECISION}"
[ $# -lt 1 ] || shift
[ $# -lt 1 ] || shift
case "$FLAVOR" in
  tensorrt) SITE=--system-site-packages RTX_LOCK= ;; # JetPack's TensorRT is a system package
  rtx) SITE='' RTX_LOCK=requirements/rtx.txt ;;
  *) fail "flavour is '$FLAVOR', expected tensorrt or rtx" ;;
esac
[ -f "models/model.$PRECISION.onnx" ] || fail "precision is '$PRECISION', this bundle holds $HOLDS"
if [ -d /usr/local/cuda/bin ]; then PATH="/usr/local/cuda/bin:$PATH"; fi # a bare Jetson has CUDA's tools off its PATH
for tool in cmake c++ sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is missing: sudo apt-get install cmake g++ coreutils"
done
sha256sum -c --quiet SHA256SUMS || fail "the bundle is corrupt: unpack it again"

# ---- An environment of our own, every package pinned and hashed ----
PYTHON="${PYTHON:-python3}"
VERSION="$("$PYTHON" -c 'import sys; print("py%d%d" % sys.version_info[:2])')" || fail "$PYTHON does not run"
LOCK="requirements/$VERSION.txt"
[ -f "$LOCK" ] || fail "no list of packages for $VERSION, expected one of $(echo requirements/py*.txt); set PYTHON"
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
mutualformer() { .venv/bin/python -m mutualformer.runtime.cli "$@"; }
if [ ! -f .venv/.ready ] || ! cmp -s .venv/.ready SHA256SUMS; then
  WHEEL="$(echo wheels/mutualformer-*.whl)"
  "$PYTHON" -m venv --clear ${SITE:+"$SITE"} .venv || fail "no virtual environment: sudo apt-get install python3-venv"
  install --no-deps --only-binary :all: --require-hashes -r "$LOCK" || fail "the packages cannot be installed"
  if [ -n "$RTX_LOCK" ]; then # its Python module is a source package
    install --no-deps --only-binary :all: --require-hashes -r requirements/build.txt || fail "setuptools is missing"
    install --no-deps --no-build-isolation --require-hashes -r "$RTX_LOCK" || fail "TensorRT-RTX cannot be installed"
  fi
  install --no-deps --no-index "$WHEEL" || fail "$WHEEL cannot be installed"
  if [ -n "${EXTRAS:-}" ]; then
    say "EXTRAS=$EXTRAS comes from the package index, neither pinned nor hashed"
    install "${WHEEL}[${EXTRAS}]" || fail "the extras $EXTRAS cannot be installed"
  fi
  cp SHA256SUMS .venv/.ready
fi

# ---- The plugin, beside plugins/library.py where every program of this environment looks for it ----
HERE="$(pwd)"
cmake -S source -B build -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$HERE/.venv/bin/python" \
  -DMUTUALFORMER_GENERATED="$HERE/source/generated" \
  ${TENSORRT_INCLUDE:+"-DTENSORRT_INCLUDE=$TENSORRT_INCLUDE"} ${CUDA_INCLUDE:+"-DCUDA_INCLUDE=$CUDA_INCLUDE"}
cmake --build build
PLUGINS="$(.venv/bin/python -c 'import mutualformer.plugins as p; print(*p.__path__)')"
cp build/libmutualformer_plugin.so build/libmutualformer_plugin.so.json build/libplugin_harness.so "$PLUGINS"
mkdir -p "$PLUGINS/generated" # what acceptance holds the plugin against
cp source/generated/cubins.bin source/generated/cubins.json source/generated/ptx.json "$PLUGINS/generated"
if [ -f build/libtensorrt_rtx.so ]; then cp build/libtensorrt_rtx.so "$PLUGINS"; fi

# On a device of 4 GB TensorRT's scratch, the desktop and the build compete for one memory; a --workspace given wins.
MEMORY_MIB="$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)"
if [ "$FLAVOR" = tensorrt ] && [ "${MEMORY_MIB:-8192}" -lt 6144 ]; then
  say "$MEMORY_MIB MiB of memory: one layer's scratch is limited to 512 MiB"
  set -- --workspace 512 "$@"
fi

# ---- The engine: built aside, compared, then made current ----
REFERENCE=models/model.fp32.onnx
if [ "$FLAVOR" = rtx ] && [ -n "$RTX_NOTE" ]; then say "$RTX_NOTE"; fi
if [ "$FLAVOR" = rtx ] && [ -z "$RTX_NOTE" ]; then set -- --target "$TARGET" "$@"; fi
mkdir -p engines/next
make_engine() { # precision, then to_trt's options
  WHICH="$1"
  shift
  mutualformer to_trt "models/model.$WHICH.onnx" -o "engines/next/model.$WHICH.engine" --flavor "$FLAVOR" "$@" || return 1
  if [ -z "$(.venv/bin/python -c 'from mutualformer.runtime.session.gpu import compute_capabilities as c; print(*c())')" ]; then
    return 0
  fi
  [ -f "$REFERENCE" ] || REFERENCE="models/model.$WHICH.onnx"
  mutualformer parity "$REFERENCE" "engines/next/model.$WHICH.engine" \
    --data "${DATA:-synthetic:16?seed=500001}" --out "engines/parity.$WHICH"
}
if ! make_engine "$PRECISION" "$@"; then
  [ "$PRECISION" = int8 ] && [ -f models/model.fp16.onnx ] || fail "no $PRECISION engine that agrees with its ONNX file"
  say "this device does not make an INT8 engine that agrees with its ONNX file (see above): FP16 is built instead"
  PRECISION=fp16
  make_engine fp16 "$@" || fail "nor an FP16 engine"
fi
mv "engines/next/model.$PRECISION.engine" "engines/next/model.$PRECISION.engine.json" engines/
if [ ! -d "engines/parity.$PRECISION" ]; then
  say "engines/model.$PRECISION.engine was built and compared with nothing: there is no GPU here. It is not made current"
  exit 0
fi
echo "engines/model.$PRECISION.engine" >engines/current.next
mv engines/current.next engines/current
say "engines/model.$PRECISION.engine agrees with its ONNX file and is current"
