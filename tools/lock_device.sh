#!/bin/sh
# Pins and hashes what a bundle installs on a device: export/device/requirements/*.txt, from pyproject.toml.
#   sh tools/lock_device.sh          needs uv (pip install uv) and a package index
set -eu
cd "$(dirname "$0")/.."
FOLDER=export/device/requirements
UV="$(command -v uv || echo .venv/bin/uv)"
lock() { # output, Python, then what to lock
  OUT="$1" VERSION="$2"
  shift 2
  "$UV" pip compile --quiet --python-version "$VERSION" --python-platform aarch64-manylinux_2_35 --generate-hashes \
    --no-emit-index-url --no-header --no-annotate --output-file "$FOLDER/$OUT.next" "$@"
  mv "$FOLDER/$OUT.next" "$FOLDER/$OUT"
}
for minor in 10 11 12; do
  lock "py3$minor.txt" "3.$minor" --extra device pyproject.toml
done
echo "tensorrt-rtx-cu13==$(sed -n 's/^rtx = \["tensorrt-rtx-cu13==\(.*\)"\]$/\1/p' pyproject.toml)" >"$FOLDER/rtx.in"
lock rtx.txt 3.10 "$FOLDER/rtx.in"
rm "$FOLDER/rtx.in"
