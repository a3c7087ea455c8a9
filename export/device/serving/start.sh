#!/bin/sh
# Starts the Triton Inference Server with this repository: tritonserver must be on PATH, as it is in NVIDIA's container.
#   ./start.sh [options of tritonserver]
# ADDRESS  where it listens (default: 127.0.0.1; in a container 0.0.0.0, behind a proxy that authenticates clients)
set -eu
HERE="$(cd "$(dirname "$0")" && pwd)"
ADDRESS="${ADDRESS:-127.0.0.1}"
export ORT_DISABLE_TELEMETRY="${ORT_DISABLE_TELEMETRY:-1}" # the server's ONNX Runtime would send telemetry
command -v tritonserver >/dev/null || {
  echo "start.sh: tritonserver is not on PATH: run this inside NVIDIA's Triton Inference Server container" >&2
  exit 1
}
(cd "$HERE" && sha256sum -c --quiet SHA256SUMS) || {
  echo "start.sh: the repository is corrupt: unpack it again" >&2
  exit 1
}
PLUGIN="$HERE/plugins/libmutualformer_plugin.so"
if [ -f "$PLUGIN" ]; then # the engine's CDA layers are in it; the server loads it before any model
  set -- "--backend-config=tensorrt,plugins=$PLUGIN" "$@"
fi
exec tritonserver --model-repository="$HERE/models" --http-address="$ADDRESS" --grpc-address="$ADDRESS" "$@"
