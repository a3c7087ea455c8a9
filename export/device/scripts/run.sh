#!/bin/sh
# Runs the engine that build.sh made current, or the file that $MODEL names (an .onnx file of models/ needs no GPU).
#   ./run.sh SOURCE [options of "mutualformer stream"]     e.g. ./run.sh realsense:// --preview 127.0.0.1:8080
#   ./run.sh --once [SOURCE] [options]                     one frame, one JSON line (default: a synthetic frame)
#   ./run.sh --verb VERB …                                 any verb of "mutualformer", e.g. ./run.sh --verb doctor
set -eu
HERE="$(cd "$(dirname "$0")" && pwd)"
export ORT_DISABLE_TELEMETRY="${ORT_DISABLE_TELEMETRY:-1}" DEPTHAI_TELEMETRY="${DEPTHAI_TELEMETRY:-0}" # see SECURITY.md
fail() {
  echo "run.sh: $*" >&2
  exit 1
}
[ -x "$HERE/.venv/bin/python" ] || fail "nothing is installed yet: run ./build.sh first"
[ $# -gt 0 ] || fail "SOURCE is missing, e.g. ./run.sh realsense://"
if [ "$1" = --verb ]; then
  shift
  exec "$HERE/.venv/bin/python" -m mutualformer.runtime.cli "$@"
fi
if [ -z "${MODEL:-}" ]; then
  [ -f "$HERE/engines/current" ] || fail "no engine yet: run ./build.sh first, or name a file with MODEL=models/…onnx"
  MODEL="$HERE/$(cat "$HERE/engines/current")"
fi
if [ "$1" = --once ]; then
  shift
  SOURCE="${1:-synthetic://?seed=1}"
  [ $# -lt 1 ] || shift
  set -- "$SOURCE" --frames 1 --json --quiet "$@"
fi
exec "$HERE/.venv/bin/python" -m mutualformer.runtime.cli stream "$@" --model "$MODEL"
