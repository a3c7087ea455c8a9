#!/bin/sh
# Pins and hashes what a bundle installs on a device: export/device/requirements/*.txt, from pyproject.toml.
#   sh tools/lock_device.sh          needs uv (pip install uv) and a package index
set -eu
cd "$(dirname "$0")/.."
FOLDER=export/device/requirements
UV="$(command -v uv || echo .venv/bin/uv)"
lock() { # output, Python, processor, then what to lock
  OUT="$1" VERSION="$2" PROCESSOR="$3"
  shift 3
  cp "$FOLDER/$OUT" "$FOLDER/$OUT.next" # versions that still fit stay as they are
  "$UV" pip compile --quiet --python-version "$VERSION" --python-platform "$PROCESSOR-manylinux_2_35" --generate-hashes \
    --no-emit-index-url --no-header --no-annotate --output-file "$FOLDER/$OUT.next" "$@"
  mv "$FOLDER/$OUT.next" "$FOLDER/$OUT"
}
lock py310.txt 3.10 aarch64 --extra device pyproject.toml # JetPack 6
lock py311.txt 3.11 x86_64 --extra device pyproject.toml  # pyrealsense2 has no wheel for aarch64 and this Python
lock py312.txt 3.12 aarch64 --extra device pyproject.toml # JetPack 7
# TensorRT-RTX's Python module is a source package; what builds it is pinned too.
printf 'setuptools>=77\nwheel\n' >"$FOLDER/build.in"
sed -n 's/^rtx = \["\(tensorrt-rtx-cu13==.*\)"\]$/\1/p' pyproject.toml >"$FOLDER/rtx.in"
lock build.txt 3.10 x86_64 "$FOLDER/build.in"
lock rtx.txt 3.10 x86_64 "$FOLDER/rtx.in"
rm "$FOLDER/build.in" "$FOLDER/rtx.in"
